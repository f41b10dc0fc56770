"""DSPy's catalogue of models and prices: its own copy, looked through once for each model.

Without this the first call of each executor would fetch a list from the internet. And a model that
is not in the catalogue by its name, as those of a server of one's own, is sought among the aliases
of all others, three times in each run: that takes longer than all else that DSPy does.
"""

import copy
import functools
import os
from typing import Any

from dspy.clients import capabilities, costs, model_metadata

_OWN = "LITELLM_LOCAL_MODEL_COST_MAP"
_MODELS = 256
"""Whose entries are remembered."""


def prepare() -> None:
    """A second time changes nothing."""
    _load()
    _remember()


def _load() -> None:
    before = os.environ.get(_OWN)
    os.environ[_OWN] = "True"
    try:
        model_metadata._load()  # noqa: SLF001 - nothing public loads it without the internet
    finally:
        if before is None:
            del os.environ[_OWN]
        else:
            os.environ[_OWN] = before


_find = model_metadata.model_info


@functools.lru_cache(_MODELS)
def _found(provider: str, model: str, namespaces: tuple[str, ...] | None) -> dict[str, Any]:
    return _find(provider, model, namespaces=namespaces)  # type: ignore[no-any-return]


@functools.wraps(_find)
def _model_info(provider: str, model: str, *, namespaces: Any = None) -> dict[str, Any]:
    return copy.deepcopy(_found(provider, model, None if namespaces is None else tuple(namespaces)))


def has(provider: str, model: str) -> bool:
    """Whether it is there, and may have a price."""
    return bool(_found(provider, model, None))


def _remember() -> None:
    for module in (model_metadata, costs, capabilities):
        module.model_info = _model_info
