"""What is generated from the models is up to date, and complete."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from anypod.resources import crd, described, names
from anypod.resources.generate import files
from anypod.resources.status import WorkerPoolStatus
from anypod.resources.worker_config import worker_config, worker_config_in_pod
from anypod.resources.workerpool import API_VERSION, KIND, WorkerPool, WorkerPoolSpec

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", sorted(files()), ids=str)
def test_generated_files_are_not_stale(path: Path) -> None:
    assert (ROOT / path).read_text() == files()[path], "run: make crds"


def schema() -> Any:
    (version,) = crd.definition()["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def nodes(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from nodes(node["additionalProperties"], f"{path}{{}}")


def test_every_field_is_described() -> None:
    undescribed = [
        path
        for path, node in nodes(schema())
        if "description" not in node and not path.endswith(("[]", "{}")) and path != ".metadata"
    ]
    assert undescribed == []


def test_every_list_map_and_text_of_the_spec_is_bounded() -> None:
    bounds = {"array": "maxItems", "string": "maxLength"}
    for path, node in nodes(schema()["properties"]["spec"]):
        if node.get("type") in bounds and "enum" not in node:
            assert bounds[node["type"]] in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


def test_every_number_of_the_spec_has_bounds() -> None:
    for path, node in nodes(schema()["properties"]["spec"]):
        if node.get("type") in ("integer", "number"):
            assert "minimum" in node, path
            assert "maximum" in node, path


def test_defaults_of_the_crd_are_those_of_the_models() -> None:
    default = schema()["properties"]["spec"]["default"]
    document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "p"}}
    plain = WorkerPool.model_validate(document)
    assert WorkerPool.model_validate({**document, "spec": default}) == plain


def test_status_has_no_defaults() -> None:
    assert all("default" not in node for _, node in nodes(schema()["properties"]["status"]))


def test_scale_and_columns_point_at_fields() -> None:
    (version,) = crd.definition()["spec"]["versions"]
    paths = {path for path, _ in nodes(schema())}
    scale = version["subresources"]["scale"]
    columns = [column["jsonPath"] for column in version["additionalPrinterColumns"]]
    for path in (*scale.values(), *columns):
        root = path.split("[?")[0]
        assert root in paths or root.startswith(".metadata."), path


@pytest.mark.parametrize("model", [WorkerPoolSpec, WorkerPoolStatus])
def test_texts_come_from_under_the_fields(model: type[BaseModel]) -> None:
    assert all(field.text for field in described.fields(model))


def test_the_longest_pool_name_gives_valid_names() -> None:
    longest = "p" * 40
    pod = f"{names.workers(longest)}-0123456789"
    assert len(names.link_secret(longest)) <= 63
    assert len(names.workers(longest)) <= 63
    assert len(pod) <= 63
    assert all(len(value) <= 63 for value in names.labels(longest).values())


def test_a_worker_is_told_the_same_locally_and_in_a_pod() -> None:
    spec = {
        "executors": 3,
        "preload": ["json"],
        "limits": {"memory": "512Mi", "bodyBytes": "1Mi"},
        "recycle": {"maxExecutions": 7},
    }
    pool = WorkerPool.model_validate(
        {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "p"}, "spec": spec}
    )
    local, pod = worker_config(pool, "w1"), worker_config_in_pod("p", pool.spec)
    told = ("pool", "executors", "preload", "limits", "recycle", "isolation", "drain_seconds")
    assert [getattr(local, name) for name in told] == [getattr(pod, name) for name in told]
    assert pod.container_env
    assert pod.port == names.WORKER_PORT


def test_what_only_gateways_do_makes_no_new_pods() -> None:
    def config(**spec: Any) -> Any:
        return worker_config_in_pod("p", WorkerPoolSpec.model_validate(spec))

    other = config(queue={"depth": 1}, sessions={"header": "X-Other"}, limits={"timeoutSeconds": 1})
    assert other == config()
    assert config(executors=3) != config()
