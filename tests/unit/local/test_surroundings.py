"""What a manifest takes from Kubernetes, local mode takes from its own environment, or refuses."""

from typing import Any

import pytest

from anypod.local.settings import CannotStart
from anypod.local.surroundings import lm_keys, with_values
from anypod.resources.workerpool import API_VERSION, KIND, WorkerPool


def pool(**spec: Any) -> WorkerPool:
    return WorkerPool.model_validate(
        {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "p"}, "spec": spec}
    )


def secret(name: str, *, optional: bool = False) -> dict[str, Any]:
    reference = {"name": "s", "key": "k", "optional": optional}
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}


def test_a_variable_from_a_secret_is_taken_from_the_environment() -> None:
    found = with_values(pool(env=[{"name": "A", "value": "a"}, secret("KEY")]), {"KEY": "k"})
    assert [(one.name, one.value) for one in found.spec.env] == [("A", "a"), ("KEY", "k")]


def test_one_that_is_nowhere_is_named() -> None:
    with pytest.raises(CannotStart, match="set KEY in the environment of anypod up"):
        with_values(pool(env=[secret("KEY")]), {})


def test_an_optional_one_may_be_missing() -> None:
    assert with_values(pool(env=[secret("KEY", optional=True)]), {}).spec.env == []


def test_whole_secrets_are_refused_unless_optional() -> None:
    with pytest.raises(CannotStart, match=r"spec.envFrom\[0\]"):
        with_values(pool(envFrom=[{"secretRef": {"name": "s"}}]), {})
    with_values(pool(envFrom=[{"secretRef": {"name": "s", "optional": True}}]), {})


def lm(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "model": "openai/x", **fields}


def test_the_keys_of_lms_are_taken_from_the_environment() -> None:
    secret_key = {"secretKeyRef": {"name": "s", "key": "k"}}
    lms = [
        lm("open"),
        lm("named", apiKey={"env": "MY_KEY"}),
        lm("both", apiKey={**secret_key, "env": "OTHER_KEY"}),
        lm("gpt-4.1", apiKey=secret_key),
    ]
    environment = {"MY_KEY": "key-1", "OTHER_KEY": " key-2\n", "GPT_4_1_API_KEY": "key-3"}
    found = lm_keys(pool(lms=lms), environment)
    assert found == {"named": "key-1", "both": "key-2", "gpt-4.1": "key-3"}


@pytest.mark.parametrize("key", ["", " ", "two words", 'a"b', "a\\b", "schlüssel"])
def test_a_key_that_is_none_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(CannotStart, match="MY_KEY") as caught:
        lm_keys(pool(lms=[lm("fast", apiKey={"env": "MY_KEY"})]), {"MY_KEY": key})
    assert not key.strip() or key not in str(caught.value)
