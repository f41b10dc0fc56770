"""DSPy's catalogue says with our memory before it what it says without."""

import pytest
from dspy.clients import costs, model_metadata

from anypod_worker.kinds.dspy import catalog

MODELS = [
    ("openai-chat", "gpt-4o-mini", None),
    ("vllm", "a model of nobody's", None),
    ("anthropic", "claude-3-haiku-20240307", None),
    ("vllm", "gpt-4o-mini", ("openai",)),
    ("vllm", "gpt-4o-mini", ()),
]


@pytest.fixture(autouse=True)
def prepared() -> None:
    catalog.prepare()
    catalog.prepare()


@pytest.mark.parametrize(("provider", "model", "namespaces"), MODELS)
def test_the_catalogue_says_the_same_again_and_again(
    provider: str, model: str, namespaces: tuple[str, ...] | None
) -> None:
    sought = model_metadata.model_info.__wrapped__(provider, model, namespaces=namespaces)
    for _ in range(3):
        found = costs.model_info(provider, model, namespaces=namespaces)
        assert found == sought
        found["input_cost_per_token"] = "somebody's own"


def test_a_model_is_sought_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    load = model_metadata._load
    monkeypatch.setattr(model_metadata, "_load", lambda: looked.append(1) or load())
    for _ in range(3):
        assert costs.model_info("vllm", "one of our own", namespaces=["hosted_vllm"]) == {}
    assert len(looked) == 1
