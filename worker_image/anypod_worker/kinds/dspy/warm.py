"""What DSPy does when it is used for the first time, done once before executors are forked.

Its catalogue of models and the system's certificates are read; the parts that it imports late are
imported; one question is asked and answered, by ourselves. Nothing of it lasts: no thread, no
socket, no setting.
"""

import asyncio
import functools
import importlib
import socket
from collections.abc import Sequence
from typing import Any

import dspy
import msgspec

from anypod.dspy.spec import Field as SpecField
from anypod.dspy.spec import Module, Signature, Spec
from anypod.wire.config import Lm
from anypod_worker.kinds.dspy import kind, lms, modules, tls
from anypod_worker.kinds.dspy.connections import idle
from anypod_worker.kinds.dspy.models import Models
from anypod_worker.kinds.dspy.running import DspyPlan
from anypod_worker.kinds.dspy.streams import CHUNK, Stream
from anypod_worker.kinds.dspy.transport import route
from anypod_worker.kinds.given import Given

_LATE = ("anyio._backends._asyncio", "anyio.to_thread")
_URL = "http://127.0.0.1/v1"
_SECONDS = 10.0
_TEXT = "[[ ## reasoning ## ]]\nIt is so.\n\n[[ ## answer ## ]]\nYes.\n\n[[ ## completed ## ]]"
_REPLY = {
    "id": "warm",
    "object": "chat.completion",
    "created": 1,
    "model": "warm",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": _TEXT},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


@functools.cache
def up() -> None:
    """Once in a process; forks of it have it."""
    for name in _LATE:
        importlib.import_module(name)
    kind.prepare()
    tls.context()
    ours, theirs = socket.socketpair()
    with theirs:
        idle.put(route(_URL).origin, Stream(ours))
        asyncio.run(_ask(theirs))
    _format(_noop)


def know(pool: Sequence[Lm]) -> None:
    """Its models."""
    for lm in pool:
        lms.look_up(lm)


async def _ask(theirs: socket.socket) -> None:
    lm = Lm("warm", "hosted_vllm/warm", _URL, timeout_seconds=_SECONDS, retries=0)
    spec = Spec(Signature([SpecField("question")], [SpecField("answer")]), Module("ChainOfThought"))
    parts = modules.parts(spec, {})
    plan = DspyPlan(parts, Models.of(parts), None, [lm])
    arguments, _ = plan.bind(b'{"question": ""}', None, Given())
    async with asyncio.timeout(_SECONDS):
        await asyncio.gather(_answer(theirs), plan.entry(*arguments))  # type: ignore[arg-type]


async def _answer(theirs: socket.socket) -> None:
    """Be the provider, and hang up."""
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_recv(theirs, CHUNK)
    body = msgspec.json.encode(_REPLY)
    head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    await loop.sock_sendall(theirs, head.encode() + body)


def _format(tool: Any) -> None:
    """An agent's parts, which are the slowest to make for the first time."""
    dspy.ReAct("question -> answer", tools=[dspy.Tool(tool, name="tool")])


def _noop() -> str:
    """Does nothing."""
    return ""
