"""Whom a model's name means, found once: DSPy makes a router for that three times in each run."""

import functools
from typing import Any

from dspy.clients import backend_selection, capabilities
from dspy.clients.engines.lm15_engine import LM15Engine
from dspy.lm15 import RouterConfig, _definitions

_NAMES = 256
"""That are remembered."""


@functools.lru_cache(_NAMES)
def _resolved(model: str, model_type: str) -> Any:
    return LM15Engine(RouterConfig(env={}), model_type=model_type).resolve(model)


class _Resolver:
    """In an engine's place, where that is only asked whom a name means."""

    def __init__(self, config: RouterConfig, *, model_type: str) -> None:
        self._config = config
        self._model_type = model_type

    def resolve(self, model: str) -> Any:
        if self._config.providers:  # declared by a program: they may change
            return LM15Engine(self._config, model_type=self._model_type).resolve(model)
        return _resolved(model, self._model_type)


def _resolve(lm: Any) -> Any:
    providers = _definitions(getattr(lm, "_providers", ()))
    config = RouterConfig(env={}, providers=providers)
    return _Resolver(config, model_type=lm.model_type).resolve(lm.model)


def remember() -> None:
    """Have DSPy use it; once more changes nothing."""
    backend_selection.LM15Engine = _Resolver
    capabilities.resolve = _resolve
