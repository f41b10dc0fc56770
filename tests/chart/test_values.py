"""Values: all of them known, said what they are for, and refused when they are misspelt."""

import importlib.util
import json
import sys
import tomllib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import yaml
from tests.support.chart import CHART, HelmError, helm, pick, rendered

ROOT = CHART.parents[1]
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
PLAIN = {"etcd.external.endpoints": ["etcd.example:2379"]}
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """helm/generate.py, which is no package's: what it makes is."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "helm/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["generate"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        found: dict[str, Any] = SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        return found
    return schema


def groups(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    schema = resolved(schema)
    if "properties" in schema:
        yield path, schema
        for name, each in schema["properties"].items():
            yield from groups(each, f"{path}.{name}".strip("."))


def at(path: str) -> Any:
    found = VALUES
    for name in filter(None, path.split(".")):
        found = found[name]
    return found


def test_lint_finds_nothing() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


def test_what_is_derived_is_up_to_date(generate: ModuleType) -> None:
    stale = [str(path) for path, text in generate.results().items() if path.read_text() != text]
    assert not stale, "run: make chart"
    copies = {path.name for path in (CHART / "files/crds").iterdir()}
    assert copies == {path.name for path in (ROOT / "crds").glob("*.yaml")}


def test_every_value_says_what_it_is_for(generate: ModuleType) -> None:
    found = generate.values((CHART / "values.yaml").read_text())
    assert len(found) > 80
    assert [each.path for each in found if not each.meaning] == []


def test_the_schema_knows_exactly_the_values_there_are() -> None:
    for path, schema in groups(SCHEMA):
        if path.endswith("resources"):
            continue  # what may be there, Kubernetes says
        names = set(schema["properties"]) - ({"global"} if not path else set())
        assert names == set(at(path)), path or "the root"


def test_no_group_of_the_schema_is_open() -> None:
    closed = {path for path, schema in groups(SCHEMA) if schema["additionalProperties"] is False}
    assert closed == {path for path, _ in groups(SCHEMA)}
    assert len(closed) > 20


def test_what_is_open_is_only_what_is_deep_and_of_kubernetes_own() -> None:
    """Where a misspelt name is found by the API server alone."""
    found = {path for path, schema in leaves(SCHEMA) if is_open(schema)}
    places = {f"{who}.affinity" for who in ("gateway", "operator", "etcd")}
    policies = {f"networkPolicy.{who}" for who in ("gatewayFrom", "gatewayTo", "metricsFrom")}
    assert found == {*places, *policies, "etcd.snapshots.volume", "global"}


def leaves(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    schema = resolved(schema)
    if "properties" not in schema:
        yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from leaves(each, f"{path}.{name}".strip("."))


def is_open(schema: dict[str, Any]) -> bool:
    schema = resolved(schema)
    if schema.get("type") == "array":
        return is_open(schema["items"])
    return schema.get("type") == "object" and "additionalProperties" not in schema


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"gateways.replicas": 3}, "gateways"),
        ({"gateway.replica": 3}, "replica"),
        ({"gateway.replicas": 0}, "/gateway/replicas"),
        ({"gateway.replicas": "3"}, "/gateway/replicas"),
        ({"gateway.service.type": "Loadbalancer"}, "/gateway/service/type"),
        ({"etcd.members": 2}, "/etcd/members"),
        ({"etcd.external.endpoints": ["https://etcd:2379"]}, "/etcd/external/endpoints/0"),
        ({"etcd.persistence.size": "8 GB"}, "/etcd/persistence/size"),
        ({"etcd.snapshots.schedule": "nonsense"}, "/etcd/snapshots/schedule"),
        ({"etcd.snapshots.schedule": "17 */6 * *"}, "/etcd/snapshots/schedule"),
        ({"image.pullpolicy": "Never"}, "pullpolicy"),
        ({"image.digest": "abc"}, "/image/digest"),
        ({"etcd.image.tag": ""}, "/etcd/image/tag"),
        ({"watchNamespaces": ["Team_A"]}, "/watchNamespaces/0"),
        ({"authentication.enable": False}, "enable"),
        ({"workers.clusterNetworks": ["100.64.0.0"]}, "/workers/clusterNetworks/0"),
        ({"gateway.resources.limit.memory": "1Gi"}, "limit"),
        ({"etcd.resources.requests": ["1Gi"]}, "/etcd/resources/requests"),
        ({"gateway.httpRoute.parentRefs": [{"nmae": "web"}]}, "nmae"),
        ({"operator.tolerations": [{"kee": "a"}]}, "kee"),
        ({"gateway.ingress.tls": [{"secret": "a"}]}, "secret"),
        ({"imageRegistry": "https://registry.example/"}, "/imageRegistry"),
        ({"imageRegistry": "/mirror"}, "/imageRegistry"),
        ({"image.repository": "https://registry.example/anypod"}, "/image/repository"),
        ({"workers.image.repository": "anypod/"}, "/workers/image/repository"),
        ({"etcd.image.repository": ""}, "/etcd/image/repository"),
        ({"etcd.persistence.size": "2047Mi"}, "etcd.persistence.size: .* etcd.quotaBytes"),
        ({"etcd.quotaBytes": (8 << 30) + 1}, "etcd.persistence.size: .* etcd.quotaBytes"),
        ({"test.apiKey": "ci"}, "test.apiKey: the Secret rel-anypod-api-keys has no entry ci"),
        ({"etcd.members": 3, "etcd.persistence.enabled": False}, "3 members need"),
        ({**PLAIN, "etcd.external.clientCertificate": True}, "clientCertificate needs TLS"),
        ({**PLAIN, "etcd.external.serverName": "etcd.example"}, "serverName needs TLS"),
        ({**PLAIN, "etcd.external.userSecret": "user"}, "userSecret needs TLS"),
        ({"gateway.autoscaling.enabled": True, "gateway.replicas": 8}, "autoscaling.maxReplicas"),
        ({"gateway.ingress.enabled": True}, "gateway.ingress.hosts"),
        ({"gateway.httpRoute.enabled": True}, "gateway.httpRoute.parentRefs"),
    ],
)
def test_nonsense_is_refused_with_its_place(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(HelmError, match=complaint):
        rendered(values)


@pytest.mark.parametrize("registry", ["", "localhost:5000", "reg.example/a/b-c_d/"])
def test_a_registry_may_have_a_port_and_folders(registry: str) -> None:
    assert rendered({"imageRegistry": registry}) != []


@pytest.mark.parametrize(
    "values",
    [
        {"etcd.persistence.size": "2Gi"},
        {"etcd.persistence.size": "1Pi", "etcd.quotaBytes": 32 << 30},
        {"etcd.persistence.size": "1Gi", "etcd.persistence.enabled": False},
        {"etcd.persistence.size": "1Gi", **PLAIN},
        {"test.apiKey": "ci", "authentication.apiKeys.existingSecret": "mine"},
        {"test.apiKey": "ci", "authentication.enabled": False},
        {"test.apiKey": "ci", "test.enabled": False},
    ],
)
def test_what_does_not_contradict_itself_is_taken(values: dict[str, Any]) -> None:
    assert rendered(values) != []


@pytest.mark.parametrize("schedule", ["17 */6 * * *", "0 4 1,15 JAN-JUN MON", "@daily"])
def test_a_schedule_may_be_said_in_all_ways_of_cron(schedule: str) -> None:
    job = pick(
        rendered({"etcd.snapshots.schedule": schedule}), "CronJob", "rel-anypod-etcd-snapshot"
    )
    assert job["spec"]["schedule"] == schedule


def test_a_parent_chart_may_have_global_values() -> None:
    assert rendered({"global.anything": "goes"}) != []


def test_by_default_the_memory_of_etcd_has_room_for_all_of_its_file() -> None:
    limit = VALUES["etcd"]["resources"]["limits"]["memory"]
    assert int(limit.removesuffix("Gi")) << 30 >= VALUES["etcd"]["quotaBytes"] + (1 << 30)


def test_the_chart_installs_the_version_it_is_of() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]
