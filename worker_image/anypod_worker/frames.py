"""What a supervisor and its executor say to each other over their socket pair.

One frame is a u32 length and a MessagePack struct. The executor's end is blocking, the supervisor's
is an asyncio transport; both cut the bytes with ``FrameReader``. A program that finds the socket
can write to it: the supervisor believes a frame only as far as it harms that program alone.
"""

import math
import select
import socket
import threading
from collections import deque
from typing import Literal

import msgspec

from anypod.dspy.spec import LmChoice
from anypod.wire.messages import Code, Failure, Usage

CHUNK_WINDOW = 256 * 1024
"""Bytes of chunks that an executor may have sent and the supervisor not yet passed on."""

_HEADER = 4
_SLACK_BYTES = 16 * 1024 * 1024
"""Of a frame beside its bodies: names, failure, and what the store keeps (a program's code or
schemas, a session's state), each of ``codec.STORED_BYTES`` at most."""
_READ = 16 * 1024
_LARGEST_READ = 1024 * 1024
"""A small buffer costs no system call for its memory; a large body is read in large steps."""


Unfitness = Literal["children", "threads", "unclean", "open-files"]
"""Why an executor must not run anything else, by its own word. A program that forges one can only
say one of these: they are labels of a metric."""


class Frame(msgspec.Struct, frozen=True, tag_field="t", omit_defaults=True, array_like=True):
    """Base of all frames."""


# supervisor → executor


class Run(Frame, frozen=True, tag=0):
    id: str
    revision: str
    inputs: bytes
    code: Code | None = None
    """Absent when the supervisor believes that the executor has the revision."""
    stream: bool = False
    session: str | None = None
    state: bytes | None = None
    """The session's committed state; absent when the executor's own is the committed one."""
    progress: bool = False
    """Send what the program says of how far it is."""
    lm: LmChoice | None = None
    keys: dict[str, str] | None = None
    """Of the pool's LMs, for a program that asks one."""
    seconds: float = 0.0
    """Until its deadline; told with the keys."""
    beside: bool = False
    """Runs beside others of the same revision: the executor goes on reading meanwhile."""


class Check(Frame, frozen=True, tag=1):
    id: str
    revision: str
    code: Code


class Credit(Frame, frozen=True, tag=2):
    id: str
    bytes: int


class Ping(Frame, frozen=True, tag=3):
    """Answered while idle, and between the steps of executions that run beside each other; that is
    how a frozen executor is noticed."""


class Interrupt(Frame, frozen=True, tag=4):
    """Goes before each SIGINT: a signal that comes before the program runs would be lost. One of
    many is interrupted by this alone; a SIGINT then ends the step that keeps the others waiting."""

    id: str


# executor → supervisor


class Warm(Frame, frozen=True, tag=10):
    """The first frame: the executor is confined and waits for work."""

    signals_confined: bool


class Pong(Frame, frozen=True, tag=11):
    pass


class NeedCode(Frame, frozen=True, tag=12):
    """The executor has dropped the revision from its cache; answered by the same Run with code."""

    id: str


class Chunk(Frame, frozen=True, tag=13):
    id: str
    data: bytes


class Progress(Frame, frozen=True, tag=19):
    id: str
    done: float
    total: float | None = None
    message: str = ""


class Kept(Frame, frozen=True, tag=20):
    """What it ends with if it comes to no other end."""

    id: str
    outputs: bytes
    """A JSON object, which is then given the reason, as ``reason``."""


class Used(Frame, frozen=True, tag=21):
    """What it has asked of an LM so far: it is paid for, however the process ends."""

    id: str
    usage: Usage


class Done(Frame, frozen=True, tag=14):
    id: str
    run_seconds: float
    outputs: bytes | None = None
    failure: Failure | None = None
    state: bytes | None = None
    """The session's state, when the execution changed it."""
    interrupted: bool = False
    """An interrupt ended it."""
    unfit: Unfitness | None = None
    usage: Usage | None = None


class Checked(Frame, frozen=True, tag=15):
    id: str
    failure: Failure | None = None
    inputs_schema: bytes | None = None
    outputs_schema: bytes | None = None
    doc: str | None = None
    streams: bool = False
    unfit: Unfitness | None = None
    waits: bool = False


class Unfit(Frame, frozen=True, tag=16):
    """The process could not be made as before after its last answer, and ends; what it was sent
    since then has not begun."""

    reason: Unfitness


class Begun(Frame, frozen=True, tag=17):
    """Of an execution beside others: from here on it may have happened."""

    id: str


class Printed(Frame, frozen=True, tag=18):
    """What an execution beside others printed by Python's streams."""

    id: str
    """Empty: it has ended, and what it started goes on printing."""
    stream: Literal["stdout", "stderr"]
    data: bytes


ToExecutor = Run | Check | Credit | Ping | Interrupt
ToSupervisor = (
    Warm
    | Pong
    | NeedCode
    | Chunk
    | Progress
    | Kept
    | Used
    | Done
    | Checked
    | Unfit
    | Begun
    | Printed
)

_encoder = msgspec.msgpack.Encoder()
_to_executor: "msgspec.msgpack.Decoder[ToExecutor]" = msgspec.msgpack.Decoder(ToExecutor)
_to_supervisor: "msgspec.msgpack.Decoder[ToSupervisor]" = msgspec.msgpack.Decoder(ToSupervisor)


class BadFrame(ValueError):
    """The peer sent bytes that are not a frame, or one above the limit."""


class OfAnother(BadFrame):
    """It speaks of something else than what runs: as far as is known, that one has not sent it."""


def encode(frame: Frame) -> bytes:
    body = _encoder.encode(frame)
    return len(body).to_bytes(_HEADER, "big") + body


def decode_for_executor(body: bytes | memoryview) -> ToExecutor:
    """Raises BadFrame."""
    try:
        return _to_executor.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadFrame(str(error)) from error


def decode_for_supervisor(body: bytes | memoryview) -> ToSupervisor:
    """Raises BadFrame."""
    try:
        return _to_supervisor.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadFrame(str(error)) from error


def max_frame_bytes(body_bytes: int) -> int:
    """Inputs or outputs, and all that is beside them."""
    return 2 * body_bytes + _SLACK_BYTES


class FrameReader:
    """Cuts a stream of bytes into the bodies of frames."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._wanted = _HEADER

    @property
    def missing(self) -> int:
        """Bytes to the end of the frame that has begun; 0 when none has."""
        return max(0, self._wanted - len(self._buffer)) if self._buffer else 0

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are complete. Raises BadFrame for a frame above the limit."""
        if not self._buffer and len(data) >= _HEADER:
            length = self._length_of(data)
            if len(data) == _HEADER + length:
                return [data[_HEADER:]]
        self._buffer += data
        bodies = []
        while len(self._buffer) >= self._wanted:
            self._wanted = _HEADER + self._length_of(self._buffer)
            if len(self._buffer) < self._wanted:
                break
            bodies.append(bytes(self._buffer[_HEADER : self._wanted]))
            del self._buffer[: self._wanted]
            self._wanted = _HEADER
        return bodies

    def _length_of(self, data: bytes | bytearray) -> int:
        length = int.from_bytes(data[:_HEADER], "big")
        if length > self._max_bytes:
            raise BadFrame(f"a frame of {length} bytes, the limit is {self._max_bytes}")
        return length


class Wire:
    """The executor's blocking end."""

    def __init__(self, end: socket.socket, max_bytes: int) -> None:
        self._end = end
        self._reader = FrameReader(max_bytes)
        self._frames: deque[ToExecutor] = deque()
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)
        self._sending = threading.RLock()
        """Threads of the program print and tell of progress; so may a finalizer, in between."""

    def send(self, frame: Frame) -> None:
        with self._sending:
            self._end.sendall(encode(frame))

    def receive(self) -> ToExecutor | None:
        """The next frame; None when the supervisor is gone. Raises BadFrame."""
        while not self._frames:
            if not self._read():
                return None
        return self._frames.popleft()

    def wait(self, seconds: float | None = None) -> bool:
        """Until ``receive`` would not block; False if that takes longer. Raising in here loses
        nothing."""
        if self._frames:
            return True
        return bool(self._poll.poll(None if seconds is None else math.ceil(1000 * seconds)))

    def fileno(self) -> int:
        return self._end.fileno()

    def receive_now(self) -> list[ToExecutor] | None:
        """The frames that are there, without waiting for more; None when the supervisor is gone."""
        if not self._frames and self._poll.poll(0) and not self._read():
            return None
        found = list(self._frames)
        self._frames.clear()
        return found

    def put_back(self, found: list[ToExecutor]) -> None:
        """``receive`` gives them first."""
        self._frames.extendleft(reversed(found))

    def is_interrupted(self, execution: str) -> bool:
        """Whether the supervisor wants this execution to stop before it begins."""
        while self._poll.poll(0) and self._read():
            pass
        return any(isinstance(f, Interrupt) and f.id == execution for f in self._frames)

    def _read(self) -> bool:
        data = self._end.recv(min(max(_READ, self._reader.missing), _LARGEST_READ))
        self._frames.extend(decode_for_executor(body) for body in self._reader.feed(data))
        return bool(data)
