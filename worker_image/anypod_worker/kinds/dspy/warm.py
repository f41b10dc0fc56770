"""What DSPy does when it is used for the first time, done once before executors are forked.

Its catalogue of models and the system's certificates are read; the parts that it imports late are
imported; one call is made as far as a port where nobody listens. Nothing of it lasts: no thread, no
socket, no setting.
"""

import asyncio
import contextlib
import functools
import importlib
import socket
from typing import Any

import dspy

from anypod.dspy.spec import Field as SpecField
from anypod.dspy.spec import Module, Signature, Spec
from anypod.wire.config import Lm
from anypod_worker.kinds.dspy import adapters, catalog, engine, modules, tls
from anypod_worker.kinds.dspy.models import Models
from anypod_worker.kinds.dspy.running import DspyPlan
from anypod_worker.kinds.given import Given
from anypod_worker.runtime.failures import Known

_LATE = ("anyio._backends._asyncio", "anyio.to_thread", "anypod_worker.kinds.dspy.kind")


@functools.cache
def up() -> None:
    """Once in a process; forks of it have it."""
    for name in _LATE:
        importlib.import_module(name)
    catalog.prepare()
    tls.share()
    engine.use()
    adapters.remember()
    tls.context()
    with socket.socket() as closed:  # bound, and not listening: who calls is refused
        closed.bind(("127.0.0.1", 0))
        _ask(f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
    _format(_noop)


def _ask(url: str) -> None:
    lm = Lm("warm", "hosted_vllm/warm", url, timeout_seconds=1, retries=0)
    spec = Spec(Signature([SpecField("question")], [SpecField("answer")]), Module("ChainOfThought"))
    parts = modules.parts(spec, {})
    plan = DspyPlan(parts, Models.of(parts), None, [lm])
    arguments, _ = plan.bind(b'{"question": ""}', None, Given())

    async def call() -> None:
        with contextlib.suppress(Known):
            await plan.entry(*arguments)  # type: ignore[misc]

    asyncio.run(call())


def _format(tool: Any) -> None:
    """An agent's parts, which are the slowest to make for the first time."""
    dspy.ReAct("question -> answer", tools=[dspy.Tool(tool, name="tool")])


def _noop() -> str:
    """Does nothing."""
    return ""
