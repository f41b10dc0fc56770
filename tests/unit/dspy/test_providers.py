"""A copy with a key asks its provider as what DSPy's own engine makes with that key does."""

from typing import Any

import pytest
from dspy.clients.engines.lm15_engine import AsyncLM15Engine
from dspy.lm15 import Config, Message, Request, RouterConfig

from anypod_worker.kinds.dspy import engine, providers
from anypod_worker.kinds.dspy.transport import Transport

ASKED = {"system": "Be brief.", "config": Config(temperature=0.5, max_tokens=9)}
MODELS = [
    ("openai/gpt-4o-mini", None),
    ("openai/gpt-4o-mini", "http://127.0.0.1:9/v1"),
    ("hosted_vllm/any:b", "http://127.0.0.1:9/v1"),
    ("groq/llama-3.3-70b-versatile", None),
    ("anthropic/claude-sonnet-4-5", None),
    ("gemini/gemini-2.5-flash", "http://127.0.0.1:9/v1beta"),
]
NOT_COPIED = [("xai/grok-4", None)]


def config(model: str, url: str | None, key: str) -> RouterConfig:
    provider = AsyncLM15Engine().resolve(model).provider
    urls = {provider: url} if url else None
    return RouterConfig(api_keys={provider: key}, base_urls=urls)


def told(engine: Any, model: str, *, stream: bool) -> tuple[Any, ...]:
    """What of it the provider and whoever asks would see."""
    request = Request(model=model, messages=(Message.user("?"),), **ASKED)
    provider, routed = engine._target(request, streaming=stream)
    sent, adapted = provider._inner._build(routed, stream=stream)
    refused = provider.normalize_error(401, '{"error": {"message": "no"}}')
    return sent, adapted, str(refused), provider.provider, provider.supports, type(provider)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "url"), [*MODELS, *NOT_COPIED])
def test_it_asks_the_same_again_and_again(model: str, url: str | None, stream: bool) -> None:
    for key in ("sk-one", "sk-two", "sk-one"):
        given = config(model, url, key)
        theirs = told(AsyncLM15Engine(given), model, stream=stream)
        assert told(engine.Engine(given), model, stream=stream) == theirs
        assert key in str((theirs[0].url, theirs[0].headers))


@pytest.mark.parametrize(("model", "url"), MODELS)
def test_it_is_made_once_and_no_copy_knows_the_key_of_another(
    model: str, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = AsyncLM15Engine().resolve(model).provider
    one = providers.made(provider, url, "sk-one", Transport(None))
    monkeypatch.setattr(providers, "AsyncLMRouter", None)
    two = providers.made(provider, url, "sk-two", Transport(None))
    assert one is not two
    assert one._inner is not two._inner
    assert one.transport is not two.transport
    assert (one.api_key, one._inner.api_key) == ("sk-one", "sk-one")
    assert (two.api_key, two._inner.api_key) == ("sk-two", "sk-two")


@pytest.mark.parametrize(("model", "url"), NOT_COPIED)
def test_others_are_not_copied(model: str, url: str | None) -> None:
    provider = AsyncLM15Engine().resolve(model).provider
    assert providers.made(provider, url, "sk-one", Transport(None)) is None
