"""The models refuse what the API server refuses, and say where."""

from typing import Any

import pytest
from pydantic import ValidationError
from tests.support.bad_pools import BAD, Bad

from anypod.resources.workerpool import API_VERSION, KIND, WorkerPool


def pool(spec: Any, name: str = "pool") -> WorkerPool:
    return WorkerPool.model_validate(
        {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
    )


def place(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


@pytest.mark.parametrize("bad", [b for b in BAD if not b.by_api_alone], ids=lambda b: b.what)
def test_what_makes_no_sense_is_refused_at_its_place(bad: Bad) -> None:
    with pytest.raises(ValidationError) as refused:
        pool(bad.spec, bad.name)
    assert any(place(error["loc"]).startswith(bad.field) for error in refused.value.errors())


def test_all_fields_can_be_given() -> None:
    found = pool(
        {
            "replicas": 3,
            "image": "registry.example/team/worker@sha256:0123",
            "imagePullSecrets": [{"name": "pull"}],
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k.1"}}},
                {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
            "envFrom": [{"prefix": "DB_", "secretRef": {"name": "db", "optional": True}}],
            "lms": [
                {
                    "name": "fast",
                    "model": "openai/gpt-4o-mini",
                    "apiBase": "https://llm.example/v1",
                    "apiKey": {"secretKeyRef": {"name": "s", "key": "k"}, "env": "OPENAI_KEY"},
                    "temperature": 0.5,
                    "maxTokens": 1000,
                    "timeoutSeconds": 20,
                    "retries": 1,
                    "inputPrice": 0.15,
                    "outputPrice": 0.6,
                }
            ],
            "defaultLm": "fast",
            "rollout": {"maxUnavailable": "25%", "maxSurge": 0},
            "network": {
                "egress": "none",
                "peers": [
                    {"cidr": "10.1.0.0/16", "ports": [{"port": 5432}]},
                    {"cidr": "2001:db8::/32"},
                    {"podSelector": {"matchLabels": {"app": "db"}}, "namespaceSelector": {}},
                ],
            },
            "template": {
                "metadata": {"labels": {"team": "a"}},
                "spec": {"runtimeClassName": "gvisor", "nodeSelector": {"disk": "ssd"}},
            },
        }
    )
    assert found.spec.env[1].value_from is not None
    assert found.spec.template.spec["runtimeClassName"] == "gvisor"
    again = WorkerPool.model_validate(found.model_dump(mode="json", by_alias=True))
    assert again == found


def test_percentages_and_numbers_of_workers_stay_what_they_are() -> None:
    rollout = pool({"rollout": {"maxUnavailable": 2, "maxSurge": "100%"}}).spec.rollout
    assert (rollout.max_unavailable, rollout.max_surge) == (2, "100%")
