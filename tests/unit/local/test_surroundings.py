"""What a manifest takes from Kubernetes, local mode takes from its own environment, or refuses."""

from typing import Any

import pytest

from anypod.local.settings import CannotStart
from anypod.local.surroundings import with_values
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
