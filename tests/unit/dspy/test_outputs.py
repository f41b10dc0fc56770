"""What an LM says that is no value of the outputs is the LM's fault, and told with its place."""

import pytest
from pydantic import ValidationError
from tests.support import dspy_runs
from tests.support.lm_server import LmServer, chat

from anypod_worker.runtime.failures import Known


@pytest.mark.parametrize(
    ("type_", "said", "place"),
    [
        ("float", "nan", "outputs.a"),
        ("float", "1e999", "outputs.a"),
        ("list[float]", "[1.5, NaN]", "outputs.a.1"),
        ("dict[str, float]", '{"b": -Infinity}', "outputs.a.b"),
    ],
)
def test_a_number_that_is_not_finite_is_no_usable_reply(
    lm: LmServer, type_: str, said: str, place: str
) -> None:
    lm.then(chat(a=said))
    plan = dspy_runs.plan(lm.url, signature=f"question -> a: {type_}")
    with pytest.raises(Known, match=place) as caught:
        dspy_runs.run(plan, question="?")
    assert caught.value.failure.type == "model-output-unusable"


@pytest.mark.parametrize("name", ["prediction", "new_signature"])
def test_an_input_is_never_taken_for_an_argument(name: str) -> None:
    """DSPy sends a dict ``prediction`` to the provider as a parameter, and not in the prompt."""
    with pytest.raises(ValidationError, match="a word that DSPy or Python uses itself"):
        dspy_runs.plan("http://127.0.0.1:9/v1", signature=f"question, {name}: dict -> answer")
