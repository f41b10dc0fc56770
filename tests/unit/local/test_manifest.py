"""What is wrong with a manifest is said with its place, and what would be right."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anypod.local.manifest import pools, shared_preload
from anypod.local.settings import CannotStart, Settings
from anypod.resources.workerpool import API_VERSION, KIND, WorkerPool

HEAD = "apiVersion: anypod.dev/v1alpha1\nkind: WorkerPool\nmetadata:\n  name: texts\n"


def read(tmp_path: Path, text: str, **changes: object) -> list[object]:
    file = tmp_path / "pool.yaml"
    file.write_text(text)
    return list(pools(Settings(manifest=file, **changes)))  # type: ignore[arg-type]


def complaint(tmp_path: Path, text: str, **changes: object) -> str:
    with pytest.raises(CannotStart) as caught:
        read(tmp_path, text, **changes)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_without_a_manifest_there_is_one_pool_named_default() -> None:
    (pool,) = pools(Settings(workers=3, executors=1, preload=("json",)))
    assert pool.metadata.name == "default"
    assert (pool.spec.replicas, pool.spec.executors, pool.spec.preload) == (3, 1, ["json"])


def test_each_document_is_a_pool_and_empty_ones_are_none(tmp_path: Path) -> None:
    text = f"---\n{HEAD}spec:\n  replicas: 1\n---\n---\n{HEAD.replace('texts', 'tables')}---\n"
    first, second = pools(Settings(manifest=_file(tmp_path, text)))
    assert (first.metadata.name, first.spec.replicas) == ("texts", 1)
    assert second.metadata.name == "tables"


def _file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "pool.yaml"
    file.write_text(text)
    return file


def test_the_command_line_wins_over_every_pool_of_the_manifest(tmp_path: Path) -> None:
    text = f"{HEAD}spec:\n  replicas: 1\n  limits:\n    memory: 512Mi\n"
    (pool,) = pools(Settings(manifest=_file(tmp_path, text), workers=4))
    assert (pool.spec.replicas, pool.spec.limits.memory) == (4, 512 * 2**20)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "spec:\n  executors: 0\n",
            "pool.yaml:6: spec.executors: should be greater than or equal to 1; it is 0",
        ),
        (
            "spec:\n  limits:\n    memory: lots\n",
            "pool.yaml:7: spec.limits.memory: must be a number of bytes, or one with k, M,",
        ),
        (
            "spec:\n  isolation: none\n",
            "pool.yaml:6: spec.isolation: should be 'shared', 'program' or 'fresh'; it is 'none'",
        ),
        (
            "spec:\n  sessions:\n    ttlSecond: 3\n",
            "pool.yaml:7: spec.sessions.ttlSecond: there is no such field; did you mean",
        ),
        (
            "spec:\n  env:\n    - name: A\n    - name: B\n      from: c\n",
            "pool.yaml:9: spec.env[1].from: there is no such field; there are name, value",
        ),
        (
            "spec:\n  preload:\n    - json\n    - 'not a module'\n",
            "pool.yaml:8: spec.preload[1]: ",
        ),
        (
            "specs: {}\n",
            "pool.yaml:5: specs: there is no such field; did you mean spec? there are apiVersion, ",
        ),
        (
            "spec:\n  limits: {timeoutSeconds: 700}\n",
            "pool.yaml:6: spec.limits: timeoutSeconds must not be above maxTimeoutSeconds",
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_line_and_what_is_allowed(
    tmp_path: Path, spec: str, said: str
) -> None:
    assert complaint(tmp_path, HEAD + spec).startswith(said)


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = complaint(tmp_path, "kind: Pool\nmetadata:\n  name: Upper\n")
    first, second, third = text.splitlines()
    assert first == "pool.yaml:1: apiVersion: is missing"
    assert second == "pool.yaml:1: kind: should be 'WorkerPool'; it is 'Pool'"
    assert third.startswith("pool.yaml:3: metadata.name: String should match pattern '^[a-z]")
    assert third.endswith("; it is 'Upper'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\n", "pool.yaml:2:1: not YAML: "),
        ("a: 1\n\tb: 2\n", "pool.yaml:2:1: not YAML: "),
        (
            "kind: WorkerPool\nkind: WorkerPool\n",
            "pool.yaml:2:1: not YAML: the key 'kind' stands twice",
        ),
        ("- 1\n", "pool.yaml:1: not a mapping, but a WorkerPool is"),
        ("just text\n", "pool.yaml:1: not a mapping"),
        ("", "pool.yaml has no document"),
        ("---\n---\n", "pool.yaml has no document"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "pool.yaml:1:4: not YAML: could not determine",
        ),
        ("a: &a [*a]\n", "pool.yaml"),
        ("? [1, 2]\n: 3\n", "pool.yaml"),
    ],
)
def test_what_is_no_manifest_at_all_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert complaint(tmp_path, text).startswith(said)


def test_two_pools_of_one_name_are_refused(tmp_path: Path) -> None:
    text = complaint(tmp_path, f"{HEAD}---\n{HEAD}")
    assert text == "pool.yaml:6: a pool named 'texts' stands at line 1 already"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"nowhere.yaml cannot be read: No such file"):
        pools(Settings(manifest=tmp_path / "nowhere.yaml"))
    (tmp_path / "pool.yaml").write_bytes(b"a: \xff")
    with pytest.raises(CannotStart, match="not UTF-8"):
        pools(Settings(manifest=tmp_path / "pool.yaml"))


def test_a_wrong_override_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"spec\.preload\[0\]"):
        pools(Settings(preload=("no module",)))


@given(st.text(max_size=60))
def test_any_text_is_a_manifest_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.mktemp("m") / "pool.yaml"
    file.write_text(text, errors="surrogatepass")
    with pytest.raises(CannotStart):
        pools(Settings(manifest=file))


def shared(*specs: dict[str, Any]) -> list[str]:
    kind = {"apiVersion": API_VERSION, "kind": KIND}
    declared = [
        WorkerPool.model_validate({**kind, "metadata": {"name": f"p{number}"}, "spec": spec})
        for number, spec in enumerate(specs)
    ]
    return shared_preload(declared)


def test_what_is_slow_to_import_is_imported_for_all_workers_at_once() -> None:
    assert shared({}, {"preload": ["pandas", "dspy"]}) == ["dspy"]
    assert shared({"preload": ["pandas"]}) == []


def test_but_not_where_an_import_might_read_a_pools_own_environment() -> None:
    env = [{"name": "DSPY_CACHEDIR", "value": "/tmp/cache"}]
    assert shared({"preload": ["dspy"]}, {"preload": ["dspy"], "env": env}) == []
