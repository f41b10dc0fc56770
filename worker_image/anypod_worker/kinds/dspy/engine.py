"""DSPy's engine as a run of ours uses it: over shared connections, and without threads.

DSPy hands to threads what might read files, load credentials or fetch a catalogue of models. Here
none of it does, for a pool's LM: its key is given, the catalogue is loaded, media come with the
inputs. What is left takes microseconds, and threads for it most of the time that DSPy takes. Nor
is sought for each request which engine may ask: for a pool's LM that is this one.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

import dspy
from dspy.clients import capabilities, execution
from dspy.clients.backend_selection import CLIENT_KEYS
from dspy.clients.engines.lifecycle import aclosing_stream
from dspy.clients.engines.lm15_engine import AsyncLM15Engine, timeouts_for
from dspy.clients.engines.stream_guard import achecked_stream
from dspy.clients.errors import error_boundary
from dspy.lm15 import (
    AsyncLMRouter,
    LM15Error,
    Request,
    Response,
    RouterConfig,
    UnsupportedFeatureError,
)
from dspy.utils.callback import with_callbacks

from anypod_worker.kinds.dspy import catalog, providers, requests, resolutions
from anypod_worker.kinds.dspy.transport import Transport

T = TypeVar("T")

_SETTINGS = frozenset({"api_key", "api_base", "timeout"})
"""Of a client, that an LM of a pool may have."""


class InTheLoop:
    """An LM that needs no thread."""

    model: str
    model_type: str
    _engine_spec: Any
    _engine_store: dict[Any, Any]
    _providers: tuple[Any, ...]

    @with_callbacks  # type: ignore[untyped-decorator]
    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """What ``BaseLM.acall`` does with an LM of DSPy's own."""
        call = execution.prepare(self, prompt, messages, kwargs, asynchronous=True)
        return execution.finalize(self, call, await execution.aexecute(self, call))

    async def aclose(self) -> None:
        """Our engines have nothing to close: they end with what uses them."""
        if all(isinstance(engine, Engine) for engine in self._engine_store.values()):
            self._engine_store.clear()
        else:  # of code that does not await
            await super().aclose()  # type: ignore[misc]

    def may_cost(self, response: Any, provider: str | None) -> bool:
        """Whether the catalogue may have a price."""
        if self._providers or provider is None:
            return True
        name = resolutions.resolved(self.model, self.model_type).model
        return any(catalog.has(provider, one) for one in (response.model, name))

    def priced(self, cost: float | None) -> None:
        """What an answer costs, by the catalogue."""

    def heard(self, response: Response) -> None:
        """An answer."""

    def asked(self, call: Any) -> tuple["Engine", Request, str] | None:
        """Which engine of ours is asked what, and whom it asks. None: DSPy has to find that.
        Raises LM15Error, LMError."""
        if not self._is_plain(call):
            return None
        resolution = resolutions.resolved(self.model, self.model_type)
        if resolution.provider.startswith("azure"):  # where an address is another matter
            return None
        request = requests.plain(call.legacy) or self._request(call, resolution.compat)
        return self._engine(resolution.provider, call.legacy), request, resolution.provider

    def _request(self, call: Any, compat: Any) -> Any:
        try:
            return execution._canonical(call, compat=compat)  # noqa: SLF001
        except UnsupportedFeatureError:
            raise
        except (LM15Error, TypeError, ValueError) as error:
            raise dspy.LMUnsupportedFeatureError(str(error), model=self.model) from error

    def _is_plain(self, call: Any) -> bool:
        said = call.legacy
        return (
            self._engine_spec == "lm15"
            and self.model_type == "chat"
            and call.managed
            and call.request is None
            and said.get("prompt_cache") is None
            and not self._providers
            and CLIENT_KEYS & said.keys() <= _SETTINGS
            and isinstance(said.get("api_key"), str)
        )

    def _engine(self, provider: str, said: dict[str, Any]) -> "Engine":
        values = said["api_key"], said.get("api_base"), said.get("timeout")
        place = (asyncio.get_running_loop(), self.model, *values)
        found = self._engine_store.get(place)
        if found is None:
            key, url, seconds = values
            config = RouterConfig(
                api_keys={provider: key},
                base_urls={provider: url} if url else None,
                transport=Transport(timeouts_for(seconds)),
            )
            found = self._engine_store[place] = Engine(config, model_type=self.model_type)
        return found


class Engine(AsyncLM15Engine):  # type: ignore[misc]
    """It has its LM's key, and ends with it."""

    def __init__(self, config: RouterConfig, *, model_type: str = "chat") -> None:
        if config.transport is None:
            config = replace(config, timeouts=None, transport=Transport(config.timeouts))
        self._init_routing(config, model_type)
        keys = (config.api_keys or {}).values()
        self._find = _at_once if any(isinstance(key, str) for key in keys) else asyncio.to_thread

    @functools.cached_property
    def router(self) -> AsyncLMRouter:
        return AsyncLMRouter(self.config)

    def resolve(self, model: str) -> Any:
        if self.config.providers:  # declared by a program: they may change
            return super().resolve(model)
        return resolutions.resolved(model, self.model_type)

    def _target(self, request: Request, *, streaming: bool = False) -> tuple[Any, Request]:
        if not self._providers:
            self._take_copy(self.resolve(request.model))
        return super()._target(request, streaming=streaming)  # type: ignore[no-any-return]

    def _take_copy(self, resolution: Any) -> None:
        """In the place of what DSPy would make."""
        provider, config = resolution.provider, self.config
        key = (config.api_keys or {}).get(provider)
        if resolution.declared or not isinstance(key, str):
            return
        url = (config.base_urls or {}).get(provider)
        one = providers.made(provider, url, key, config.transport)
        if one is not None:
            self._providers[provider] = one

    async def complete(self, request: Request) -> Response:
        provider, routed = await self._find(self._target, request)
        return await provider.complete(routed)

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        provider, routed = await self._find(self._target, request, streaming=True)
        events = achecked_stream(provider.stream(routed), provider=provider.provider)
        async with aclosing_stream(events):
            async for event in events:
                yield event


# DSPy has no public way to say which engine it is, nor what it costs.
_theirs = execution._engine  # noqa: SLF001
_price = execution._price_result  # noqa: SLF001


def _engine(lm: Any, call: Any, asynchronous: bool) -> Any:
    found = None
    if asynchronous and isinstance(lm, InTheLoop):
        with error_boundary(lm.model):
            found = lm.asked(call)
    return _theirs(lm, call, asynchronous) if found is None else found


def _priced(lm: Any, result: Any, response: Any, provider: str | None, request: Any) -> None:
    """As DSPy does it, and not at all for a model that the catalogue does not have."""
    ours = isinstance(lm, InTheLoop)
    if not ours or lm.may_cost(response, provider):
        _price(lm, result, response, provider, request)
    if ours:
        lm.priced(result.cost)
        lm.heard(response)


async def _at_once(function: Callable[..., T], /, *arguments: Any, **named: Any) -> T:
    return function(*arguments, **named)


async def _at_once_if_it_may(function: Callable[..., T], lm: Any, /, *more: Any, **named: Any) -> T:
    if isinstance(lm, InTheLoop):
        return function(lm, *more, **named)
    return await asyncio.to_thread(function, lm, *more, **named)


def use() -> None:
    """Have DSPy use it; once more changes nothing."""
    execution.AsyncLM15Engine = Engine
    execution._engine = _engine  # noqa: SLF001
    execution._price_result = _priced  # noqa: SLF001
    for module in (execution, capabilities):
        module.asyncio = _without_threads(asyncio)


def _without_threads(module: ModuleType) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(module), "to_thread": _at_once_if_it_may})
