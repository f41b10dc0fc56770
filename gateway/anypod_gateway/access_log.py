"""One line per request: what was asked of whom and how it went, never what it said.

Only a probe that went well has none: it comes all the time, and says nothing.
"""

import time
from collections.abc import Callable

import msgspec

from anypod_gateway.calls import Call
from anypod_gateway.log_lines import LineWriter, LogFormat

CLIENT_LEFT = 499
"""In place of a status, which nobody saw: the client went away first."""


PROBES = frozenset({"/healthz", "/readyz"})


class Access(msgspec.Struct, frozen=True, omit_defaults=True):
    time: str
    method: str
    path: str
    """The template, so that no name or secret from a URL is in the log."""
    status: int
    ms: float
    caller: str = ""
    """The name of its key, or of its user."""
    pool: str = ""
    execution: str = ""
    worker: str = ""
    problem: str = ""
    items: int = 0
    failed: int = 0
    """Items, of a batch."""


class AccessLog:
    def __init__(self, lines: LineWriter, form: LogFormat) -> None:
        self._write = lines.write
        self._form = _as_json if form == "json" else _as_text
        self._second = 0
        self._prefix = ""

    def note(self, method: str, status: int, seconds: float, call: Call) -> None:
        if status == 200 and call.route in PROBES:
            return
        self._write(
            self._form(
                Access(
                    self._now(),
                    method,
                    call.route,
                    status,
                    round(seconds * 1000, 3),
                    call.caller.name if call.caller is not None else "",
                    call.pool,
                    call.execution,
                    call.worker,
                    call.problem,
                    call.items,
                    call.failed,
                )
            )
        )

    def _now(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return f"{self._prefix}{int((now - second) * 1000):03}Z"


Form = Callable[[Access], bytes]

_encode = msgspec.json.Encoder().encode


def _as_json(access: Access) -> bytes:
    return _encode(access) + b"\n"


def _as_text(access: Access) -> bytes:
    line = f"{access.time} {access.method} {access.path} {access.status} {access.ms:.1f}ms"
    if access.caller:
        line += f" caller={access.caller}"
    if access.pool:
        line += f" pool={access.pool}"
    if access.execution:
        line += f" execution={access.execution}"
    if access.worker:
        line += f" worker={access.worker}"
    if access.problem:
        line += f" problem={access.problem}"
    if access.items:
        line += f" items={access.items} failed={access.failed}"
    return line.encode() + b"\n"
