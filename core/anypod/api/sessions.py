"""Sessions as clients get them."""

from datetime import datetime
from typing import Any

from anypod.api.documents import AnswerModel, Listing


class SessionSummary(AnswerModel):
    """A session as lists show it: without its state."""

    id: str
    pool: str
    worker: str
    """Where its executor is; a lost worker's session moves at its next call."""
    created_at: datetime
    expires_at: datetime
    """Without another call. Renewals are lazy, so it may end up to a quarter of its TTL later."""
    epoch: int
    """Rises by one each time that the session moves to another worker."""


class SessionLm(AnswerModel):
    """Which LM the session's programs of kind dspy ask: over what they say, under what a run says.
    Null is what the program says, or the pool."""

    name: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None


class SessionDocument(SessionSummary):
    state: dict[str, Any]
    """What the programs have kept in ``session.state``."""
    programs: list[str]
    """Ids of the programs that the session owns."""
    lm: SessionLm | None = None
    """What was chosen for the session, if anything was."""


class SessionList(Listing[SessionSummary]):
    """Sessions in the order of their keys."""
