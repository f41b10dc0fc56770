"""The session that the current execution belongs to: ``from anypod import session``.

``session.state`` is a dict that lasts as long as the session, on whatever worker it runs: after
each successful execution it is stored as JSON. ``session.id`` is the key that the client chose.
Outside a session both raise RuntimeError.
"""

from typing import Any

from anypod.wire import strict_json


class Session:
    """One session in its executor; what a parameter named ``session`` receives."""

    def __init__(self, id: str, state: bytes = b"{}") -> None:  # noqa: A002
        self.id = id
        self.state: dict[str, Any] = strict_json.loads(state)
