"""What an executor says that is more than can be passed on, by the failure that it becomes.

An executor keeps to these limits, but a program that has found its socket need not, and the link is
everybody's: a message above what the gateway takes would end all that runs by it. So the supervisor
measures whatever a program can make large.
"""

import msgspec

from anypod.wire.codec import STORED_BYTES
from anypod.wire.config import Limits
from anypod.wire.messages import Failure, Output
from anypod_worker import frames

_SLACK = 64 * 1024
"""Of a message, for names and numbers, and for a failure where nothing else has room."""

_size_of = msgspec.msgpack.Encoder().encode


def of_printed(printed: Output, room: int) -> bool:
    """``room``: of the largest message."""
    return len(_size_of(printed)) > room - 2 * _SLACK


def beside(printed: Output | None, room: int) -> int:
    """What is left of the largest message."""
    return room - _SLACK - (0 if printed is None else len(_size_of(printed)))


def of_done(frame: frames.Done, limits: Limits, room: int) -> Failure | None:
    """``room``: beside what was printed."""
    outputs, state = len(frame.outputs or b""), len(frame.state or b"")
    if outputs > limits.output_bytes:
        return _too_large("outputs", limits.output_bytes)
    if state > STORED_BYTES:
        return _too_large("session.state", STORED_BYTES)
    failure = 0 if frame.failure is None else len(_size_of(frame.failure))
    if outputs + state + failure <= room:
        return None
    if frame.state is not None:
        return _too_large("session.state", max(0, room - outputs))
    return _too_large("outputs", room)


def of_chunk(data: bytes, limits: Limits, room: int) -> bool:
    return len(data) > min(limits.output_bytes, room - _SLACK)


def of_checked(frame: frames.Checked, room: int = STORED_BYTES + _SLACK) -> Failure | None:
    """``room``: of the largest message; without it, as much as any program may have."""
    limit = min(STORED_BYTES, room - _SLACK)
    size = len(_size_of((frame.inputs_schema, frame.outputs_schema, frame.doc, frame.failure)))
    if size <= limit:
        return None
    return Failure(
        type="invalid-program",
        detail=f"its schemas and its docstring have {size} bytes; they may have {limit}",
        limit=limit,
    )


def _too_large(what: str, limit: int) -> Failure:
    return Failure(
        type="output-too-large",
        detail=f"{what}: more than the limit of {limit} bytes as JSON",
        path=what,
        limit=limit,
    )
