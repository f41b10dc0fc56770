"""Our adapters write the prompts that DSPy's write, and the same part of them once."""

import gc
import weakref
from typing import Any, Literal

import dspy
import pytest
from dspy.adapters import decision
from dspy.adapters.types.decision import Noul
from dspy.predict import predict
from pydantic import BaseModel

from anypod_worker.kinds.dspy import modules, prompts


class Line(BaseModel):
    product: str
    count: int = 1


SIGNATURES: list[Any] = [
    dspy.Signature("question -> answer"),
    dspy.Signature({"q": (str, dspy.InputField(desc="asked")),
                    "a": (Literal["a", "b"], dspy.OutputField()),
                    "b": (list[Line], dspy.OutputField(desc="all of it"))}, "Be brief."),
    dspy.Signature("image, n: int -> found: bool", "In two\nlines."),
]  # fmt: skip
THEIRS = {
    "chat": dspy.ChatAdapter(use_json_adapter_fallback=False),
    "json": dspy.JSONAdapter(),
    "xml": dspy.XMLAdapter(),
}
DEMO = {"q": "?", "a": "a", "b": [{"product": "pen"}], "question": "?", "answer": "!"}


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("name", THEIRS)
def test_a_prompt_is_the_same_again_and_again(name: str, signature: Any) -> None:
    inputs: dict[str, Any] = dict.fromkeys(signature.input_fields, "?")
    theirs = THEIRS[name].format(signature, demos=[DEMO], inputs=inputs)
    for _ in range(3):
        ours = modules.adapter(name)
        assert ours.format(signature, demos=[DEMO], inputs=inputs) == theirs
        assert type(ours).__name__ == type(THEIRS[name]).__name__


@pytest.mark.parametrize("name", THEIRS)
def test_what_is_the_same_is_written_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = dspy.Signature("question -> answer")
    described: list[Any] = []
    describe = dspy.ChatAdapter.format_field_description

    def noted(adapter: Any, signature: Any) -> Any:
        described.append(signature)
        return describe(adapter, signature)

    monkeypatch.setattr(dspy.ChatAdapter, "format_field_description", noted)
    for _ in range(3):
        modules.adapter(name).format(signature, demos=[], inputs={"question": "?"})
    assert described == [signature]
    other = signature.with_instructions("Be brief.")
    said = modules.adapter(name).format(other, demos=[], inputs={"question": "?"})
    assert described == [signature, other]
    assert "Be brief." in said[0]["content"]


def test_a_signature_that_nobody_has_is_not_kept() -> None:
    signature = dspy.Signature("question -> answer")
    modules.adapter("chat").format(signature, demos=[], inputs={"question": "?"})
    known = weakref.ref(signature)
    del signature
    gc.collect()
    assert known() is None


class OtherLm:
    supports_decision_requests = False


class DecidingLm:
    supports_decision_requests = True


def test_whether_a_signature_asks_for_a_decision_is_found_once_for_each_kind_of_lm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(predict, "resolve_adapter", decision.resolve_adapter)
    prompts.remember()
    form, words = dspy.ChatAdapter(), dspy.Signature("question -> answer")
    fields = {"q": (str, dspy.InputField()), "right": (Noul, dspy.OutputField())}
    decides = dspy.Signature(fields)
    for _ in range(2):
        assert predict.resolve_adapter(OtherLm(), form, words, {}, words) is form
        found = predict.resolve_adapter(OtherLm(), form, decides, {}, decides)
        assert isinstance(found, decision.DecisionAdapter)
        with pytest.raises(ValueError, match="Unsupported System One output"):
            predict.resolve_adapter(DecidingLm(), form, words, {}, words)
        with pytest.raises(ValueError, match="unsupported outputs"):
            predict.resolve_adapter(OtherLm(), form, words, {"answer": {"weights": {}}}, words)
    looked: list[Any] = []
    monkeypatch.setattr(decision, "resolve_adapter", lambda *a: looked.append(a) or a[1])
    assert predict.resolve_adapter(OtherLm(), form, words, {}, words) is form
    assert looked == []
    predict.resolve_adapter(OtherLm(), form, decides, {}, decides)
    assert len(looked) == 1
