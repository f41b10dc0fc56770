"""What DSPy's engine makes of an LM's name and address, made once: a run has a copy with its key.

It says how to ask, and is the same for all runs; only the key is not. Made anew it would take as
long as a prompt. It is kept for the providers that most LMs are of; others are made as DSPy does.
"""

import copy
import functools
from typing import Any

from dspy._vendor.lm15.providers.async_base import (
    AsyncAnthropicLM,
    AsyncGeminiLM,
    AsyncOpenAIChatLM,
)
from dspy.lm15 import AsyncLMRouter, RouterConfig

_KEPT = 256
_COPIED = (AsyncOpenAIChatLM, AsyncAnthropicLM, AsyncGeminiLM)
"""Which keep nothing of a key but itself."""
_NO_KEY = "in the place of a run's key"


def made(provider: str, url: str | None, key: str, transport: Any) -> Any:
    """For one run. None: not of those."""
    kept = _made(provider, url)
    if kept is None:
        return None
    one = copy.copy(kept)
    one._inner = copy.copy(kept._inner)  # noqa: SLF001 - it has the key as well
    one.api_key = one._inner.api_key = key  # noqa: SLF001
    one.transport = transport
    return one


@functools.lru_cache(_KEPT)
def _made(provider: str, url: str | None) -> Any:
    urls = {provider: url} if url else None
    config = RouterConfig(api_keys={provider: _NO_KEY}, base_urls=urls, transport=_Nowhere())
    found = AsyncLMRouter(config).lm(f"{provider}:any")
    plain = type(found) in _COPIED and found._inner.access.host is None  # noqa: SLF001
    return found if plain else None


class _Nowhere:
    """Nothing is asked without a key."""
