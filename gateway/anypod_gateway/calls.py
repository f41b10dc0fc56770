"""What is known of one request while it is served: for its log line, metrics and problem."""

from aiohttp import web

from anypod_gateway.callers.rights import Caller


class Call:
    """Filled by the handler; read by the middleware when the answer is there."""

    __slots__ = (
        "attempt",
        "caller",
        "execution",
        "failed",
        "items",
        "pool",
        "problem",
        "route",
        "worker",
    )

    def __init__(self) -> None:
        self.route = ""
        """The path's template."""
        self.caller: Caller | None = None
        """Who showed a key or a token; nobody where none is asked for."""
        self.pool = ""
        """A pool that exists; a name that a client made up never gets here."""
        self.execution = ""
        self.worker = ""
        self.attempt = 0
        self.items = 0
        """Of a batch: how many have been answered."""
        self.failed = 0
        """And how many of these with a problem."""
        self.problem = ""
        """The problem's type, when the answer is one; also the end of an event stream."""


CALL = web.RequestKey("call", Call)
