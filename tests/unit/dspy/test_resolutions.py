"""A model's name means with our memory what it means without."""

from typing import Any

import dspy
import pytest
from dspy.clients import backend_selection, capabilities
from dspy.clients.backend_selection import select_backend
from dspy.clients.engines import lm15_engine
from dspy.lm15 import LM15Error

from anypod_worker.kinds.dspy import resolutions

MODELS = ["openai/gpt-4o-mini", "hosted_vllm/any", "anthropic/claude-sonnet-4-5", "gpt-4o",
          "gemini/gemini-2.5-flash", "no_such_provider/x", "hosted_vllm/a:b"]  # fmt: skip
theirs = capabilities.resolve, capabilities._capabilities


@pytest.fixture(autouse=True)
def as_dspy_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until ``remember``."""
    monkeypatch.setattr(backend_selection, "LM15Engine", lm15_engine.LM15Engine)
    for name, function in zip(("resolve", "_capabilities"), theirs, strict=True):
        monkeypatch.setattr(capabilities, name, function)
    resolutions.resolved.cache_clear()
    monkeypatch.setattr(resolutions, "_capable", {})


def found(model: str, model_type: str) -> tuple[Any, ...]:
    lm = dspy.LM(model, model_type=model_type, engine="lm15", api_key="k", api_base="http://a/v1")
    told = []
    for ask in (select_backend, capabilities.resolve, capabilities.capabilities):
        try:
            told.append(ask(lm))
        except (LM15Error, dspy.LMError) as error:
            told.append((type(error), str(error)))
    return tuple(told)


@pytest.mark.parametrize("model_type", ["chat", "responses"])
@pytest.mark.parametrize("model", MODELS)
def test_it_is_the_same_again_and_again(model: str, model_type: str) -> None:
    before = found(model, model_type)
    resolutions.remember()
    resolutions.remember()
    assert [found(model, model_type) for _ in range(2)] == [before] * 2


def test_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    resolutions.remember()
    found("hosted_vllm/x", "chat")
    monkeypatch.setattr(resolutions, "LM15Engine", None)
    found("hosted_vllm/x", "chat")
    with pytest.raises(TypeError):
        found("hosted_vllm/y", "chat")


def test_what_a_model_can_do_is_looked_up_once_whoever_asks_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolutions.remember()
    settings = {"engine": "lm15", "api_base": "http://a/v1"}
    known = capabilities.capabilities(dspy.LM("hosted_vllm/x", api_key="one", **settings))
    monkeypatch.setattr(resolutions, "_capabilities", None)
    assert capabilities.capabilities(dspy.LM("hosted_vllm/x", api_key="two", **settings)) == known
    with pytest.raises(dspy.LMError):
        capabilities.capabilities(dspy.LM("hosted_vllm/y", api_key="two", **settings))


def test_other_engines_and_settings_are_dspys_own_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(resolutions, "_capabilities", lambda lm, options: asked.append(options))
    resolutions.remember()
    ours = dspy.LM("hosted_vllm/x", engine="lm15", api_key="k")
    for lm, options in [(dspy.LM("hosted_vllm/x"), None), (ours, {"api_base": "http://b/v1"})]:
        for _ in range(2):
            capabilities._capabilities(lm, options)
    assert asked == [None, None, {"api_base": "http://b/v1"}, {"api_base": "http://b/v1"}]
