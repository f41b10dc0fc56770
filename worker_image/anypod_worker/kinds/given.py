"""What a run that asks an LM is given beside its inputs, and tells beside its outputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from anypod.dspy.spec import LmChoice
from anypod.wire.codec import MAX_BODY_BYTES
from anypod.wire.messages import Usage
from anypod_worker import frames


def _nowhere(_: bytes) -> None:
    """Of many runs in one process: their ends are their own."""


def _nobody(_: Usage) -> None:
    """Hears it: the run is told of when it has ended."""


@dataclass(slots=True)
class Given:
    lm: LmChoice | None = None
    """What the caller, or the session, says of the LM: over what the program says."""
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of the pool's LMs that have one, by the LM's name. It is in nothing that outlives the run."""
    stream: bool = False
    seconds: float = 0.0
    """Until the deadline, at the start; 0 when that is not known."""
    usage: Usage | None = None
    """Set by the run."""
    tell: Callable[[Usage], None] = _nobody
    """Hears what it is so far, each time that an LM is asked and has answered."""
    lm_calls: int | None = None
    """That it may make yet; None: as many as it takes."""
    output_limit: int = MAX_BODY_BYTES
    keep: Callable[[bytes], None] = _nowhere
    """Hears what the run is to end with if its process does not live to say how it ended: the JSON
    of an object, to which a ``reason`` is added."""


def of_run(
    frame: frames.Run,
    output_limit: int,
    tell: Callable[[Usage], None],
    keep: Callable[[bytes], None] = _nowhere,
) -> Given | None:
    """None for a program that asks no LM."""
    if frame.keys is None:
        return None
    return Given(
        frame.lm,
        frame.keys,
        frame.stream,
        frame.seconds,
        tell=tell,
        output_limit=output_limit,
        keep=keep,
    )
