"""Whom a model's name means, and what that model can do, found once: DSPy does it in each run."""

import functools
from collections.abc import Mapping
from typing import Any

from dspy.clients import backend_selection, capabilities
from dspy.clients.backend_selection import CLIENT_KEYS
from dspy.clients.engines.lm15_engine import LM15Engine
from dspy.lm15 import RouterConfig, _definitions

_NAMES = 256
"""That are remembered."""


@functools.lru_cache(_NAMES)
def resolved(model: str, model_type: str) -> Any:
    return LM15Engine(RouterConfig(env={}), model_type=model_type).resolve(model)


class _Resolver:
    """In an engine's place, where that is only asked whom a name means."""

    def __init__(self, config: RouterConfig, *, model_type: str) -> None:
        self._config = config
        self._model_type = model_type

    def resolve(self, model: str) -> Any:
        if self._config.providers:  # declared by a program: they may change
            return LM15Engine(self._config, model_type=self._model_type).resolve(model)
        return resolved(model, self._model_type)


def _resolve(lm: Any) -> Any:
    providers = _definitions(getattr(lm, "_providers", ()))
    config = RouterConfig(env={}, providers=providers)
    return _Resolver(config, model_type=lm.model_type).resolve(lm.model)


_capabilities = capabilities._capabilities  # noqa: SLF001 - DSPy has no public one
_capable: dict[tuple[str, ...], Any] = {}


def _capabilities_of(lm: Any, options: Mapping[str, Any] | None = None) -> Any:
    """By the model's name, and by which of a client's settings there are: their values make no
    difference with this engine, but for those that DSPy refuses."""
    if lm.engine != "lm15" or lm._providers or CLIENT_KEYS & (options or {}).keys():  # noqa: SLF001
        return _capabilities(lm, options)
    name = (lm.model, lm.model_type, *sorted(CLIENT_KEYS & lm.kwargs.keys()))
    known = _capable.get(name)
    if known is None:
        known = _capabilities(lm, options)
        if len(_capable) < _NAMES:
            _capable[name] = known
    return known


def remember() -> None:
    """Have DSPy use it; once more changes nothing."""
    backend_selection.LM15Engine = _Resolver
    capabilities.resolve = _resolve
    capabilities._capabilities = _capabilities_of  # noqa: SLF001
