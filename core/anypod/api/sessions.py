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


class SessionDocument(SessionSummary):
    state: dict[str, Any]
    """What the programs have kept in ``session.state``."""
    programs: list[str]
    """Ids of the programs that the session owns."""


class SessionList(Listing[SessionSummary]):
    """Sessions in the order of their keys."""
