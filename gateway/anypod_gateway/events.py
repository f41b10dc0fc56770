"""What the running side tells whoever counts: callbacks, so that it knows no metrics library."""

from collections.abc import Callable
from dataclasses import dataclass

from anypod.wire.messages import Usage


def _nothing(*_: object) -> None:
    pass


def _no() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Events:
    """All are called on the loop, must not wait, and must not raise."""

    link: Callable[[str, str, bool], None] = _nothing
    """Pool, worker, and whether the link to it is up now."""
    retried: Callable[[str, str], None] = _nothing
    """Pool, and why an execution is placed again: a refusal's reason, or ``worker-lost``."""
    session: Callable[[str, str], None] = _nothing
    """Pool, and what happened to a session: ``created``, ``moved`` or ``lost``."""
    lm: Callable[[str, Usage], None] = _nothing
    """Pool, and what an execution asked of one of its LMs."""
    job: Callable[[str, str], None] = _nothing
    """Pool, and the state that a job was brought to here."""
    webhook: Callable[[str, str], None] = _nothing
    """Pool, and how an attempt to tell of a job's end went."""
    executing: Callable[[str, bool], None] = _nothing
    """Pool, and whether an execution that no call waits for begins, or has ended."""
    executed: Callable[[str, float, float], None] = _nothing
    """Pool, and the seconds that one waited and ran."""
    under_way: Callable[[bool], None] = _nothing
    """Something begins, or has ended, that the gateway should not leave in the middle."""
    is_leaving: Callable[[], bool] = _no
    """Whether nothing new is to be begun."""
    fault: Callable[[str], None] = _nothing
    """A part without which the gateway is no use has failed; the reason, for people."""
