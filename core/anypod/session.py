"""The session that the current execution belongs to: ``from anypod import session``.

``session.state`` is a dict that lasts as long as the session, on whatever worker it runs: after
each successful execution it is stored as JSON, and then reads as JSON has it (a tuple is a list).
``session.id`` is the key that the client chose. Outside a session, and while a program is being
imported, both raise RuntimeError.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from anypod.wire import strict_json

__all__ = ["Session", "id", "state"]


class Session:
    """One session in its executor; what a parameter named ``session`` receives."""

    def __init__(self, id: str, state: bytes = b"{}") -> None:  # noqa: A002 - the users' word
        """``state`` is the JSON that the store has."""
        self._id = id
        self._state: dict[str, Any] = {}
        self.committed = state
        """For the executor: the JSON that the last successful execution left."""
        self.rebuild()

    @property
    def id(self) -> str:
        return self._id

    @property
    def state(self) -> dict[str, Any]:
        return self._state

    @state.setter
    def state(self, value: dict[str, Any]) -> None:
        if not isinstance(value, dict):
            raise TypeError(f"session.state must be a dict, not {type(value).__name__}")
        self._state = value

    def rebuild(self) -> None:
        """For the executor: the state is again what was committed."""
        self._state = strict_json.loads(self.committed)

    def __repr__(self) -> str:
        return f"<session {self._id}>"


class Absent:
    """What a parameter named ``session`` receives when there is no session: it says so on use."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(_ABSENT)

    def __bool__(self) -> bool:
        return False


_ABSENT = (
    "this execution belongs to no session: send the session header with the request"
    " (and read the session in the function, not while the module is imported)"
)


class _Module(ModuleType):
    """Makes ``session.state`` of this module the current session's, to read and to assign."""

    _current: Session | None = None

    def enter(self, session: Session | None) -> None:
        """For the executor: what follows belongs to this session, or to none."""
        self._current = session

    def _session(self) -> Session:
        if self._current is None:
            raise RuntimeError(_ABSENT)
        return self._current

    @property
    def id(self) -> str:
        return self._session().id

    @property
    def state(self) -> dict[str, Any]:
        return self._session().state

    @state.setter
    def state(self, value: dict[str, Any]) -> None:
        self._session().state = value


if TYPE_CHECKING:
    id: str  # noqa: A001 - the users' word
    state: dict[str, Any]

    def enter(session: Session | None) -> None:
        """For the executor: what follows belongs to this session, or to none."""
else:
    sys.modules[__name__].__class__ = _Module
