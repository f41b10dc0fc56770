"""DSPy's engine as a run of ours uses it: over shared connections, and without threads.

DSPy hands to threads what might read files, load credentials or fetch a catalogue of models. Here
none of it does, for a pool's LM: its key is given, the catalogue is loaded, media come with the
inputs. What is left takes microseconds, and threads for it most of the time that DSPy takes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

from dspy.clients import capabilities, execution
from dspy.clients.engines.lifecycle import aclosing_stream
from dspy.clients.engines.lm15_engine import AsyncLM15Engine
from dspy.clients.engines.stream_guard import achecked_stream
from dspy.lm15 import Request, Response, RouterConfig
from dspy.utils.callback import with_callbacks

from anypod_worker.kinds.dspy.transport import Transport

T = TypeVar("T")


class InTheLoop:
    """An LM that needs no thread."""

    @with_callbacks  # type: ignore[untyped-decorator]
    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """What ``BaseLM.acall`` does with an LM of DSPy's own."""
        call = execution.prepare(self, prompt, messages, kwargs, asynchronous=True)
        return execution.finalize(self, call, await execution.aexecute(self, call))


class Engine(AsyncLM15Engine):  # type: ignore[misc]
    """It has its LM's key, and ends with it."""

    def __init__(self, config: RouterConfig, *, model_type: str = "chat") -> None:
        shared = replace(config, timeouts=None, transport=Transport(config.timeouts))
        super().__init__(shared, model_type=model_type)
        keys = (config.api_keys or {}).values()
        self._find = _at_once if any(isinstance(key, str) for key in keys) else asyncio.to_thread

    async def complete(self, request: Request) -> Response:
        provider, routed = await self._find(self._target, request)
        return await provider.complete(routed)

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        provider, routed = await self._find(self._target, request, streaming=True)
        events = achecked_stream(provider.stream(routed), provider=provider.provider)
        async with aclosing_stream(events):
            async for event in events:
                yield event


async def _at_once(function: Callable[..., T], /, *arguments: Any, **named: Any) -> T:
    return function(*arguments, **named)


async def _at_once_if_it_may(function: Callable[..., T], lm: Any, /, *more: Any, **named: Any) -> T:
    if isinstance(lm, InTheLoop):
        return function(lm, *more, **named)
    return await asyncio.to_thread(function, lm, *more, **named)


def use() -> None:
    """Have DSPy use it; once more changes nothing."""
    execution.AsyncLM15Engine = Engine
    for module in (execution, capabilities):
        module.asyncio = _without_threads(asyncio)


def _without_threads(module: ModuleType) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(module), "to_thread": _at_once_if_it_may})
