"""A cluster that is there already is used only by the name of its context, and not touched."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import ImageNames, Pod, Unsupported, existing, up
from tests.cluster.control_plane import ApiServer

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes

CRD = "crd/workerpools.anypod.dev"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def two_contexts(api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's kubeconfig: the current context is a cluster that is not there."""
    config = json.loads(api.kubeconfig.read_text())
    name = config["current-context"]
    config["clusters"].append({"name": "far", "cluster": {"server": "https://127.0.0.1:1"}})
    config["contexts"].append({"name": "far", "context": {"cluster": "far", "user": name}})
    config["current-context"] = "far"
    written = tmp_path / "kubeconfig"
    written.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(written))
    return written


@pytest.mark.parametrize("context", [None, ""])
def test_without_the_name_of_a_context_it_is_refused(
    two_contexts: Path, context: str | None
) -> None:
    with pytest.raises(ValueError, match="name the context of the existing cluster"):
        up("existing", context=context)


def test_a_context_that_is_not_there_is_refused(two_contexts: Path) -> None:
    with pytest.raises(ValueError, match="has no context nowhere"):
        up("existing", context="nowhere")


def test_the_named_context_is_used_and_not_the_current_one(
    api: ApiServer, two_contexts: Path
) -> None:
    before = two_contexts.read_bytes()
    cluster = up("existing", context="anypod-cluster")
    assert cluster.provider == "existing"
    assert cluster.kubectl("get", "--raw=/readyz") == "ok"
    assert cluster.nodes() == []
    # Whoever gets the path gets the right cluster, too.
    assert cluster.kubectl("config", "current-context").strip() == "anypod-cluster"
    cluster.down()
    assert not cluster.kubeconfig.exists()
    assert two_contexts.read_bytes() == before
    assert api.kubectl("get", "--raw=/readyz") == "ok"


def test_what_needs_its_nodes_is_unsupported_with_the_reason(two_contexts: Path) -> None:
    cluster = up("existing", context="anypod-cluster")
    try:
        with pytest.raises(Unsupported, match=r"push probe\.tar to where it pulls from"):
            cluster.load([Path("probe.tar")])
        with pytest.raises(Unsupported, match="nodes of an existing cluster cannot be entered"):
            cluster.faults.kill_process(Pod("default", "any"))
    finally:
        cluster.down()


NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
READY = {"type": "Ready", "status": "True", "reason": "R", "message": "-"}


@pytest.fixture
def node(api: ApiServer) -> Iterator[None]:
    """One that nothing runs on, which says that it is ready."""
    api.kubectl("create", "--filename=-", input=json.dumps(NODE))
    status = json.dumps({"status": {"conditions": [READY]}})
    api.kubectl("patch", "node", "n1", "--subresource=status", f"--patch={status}")
    yield
    api.kubectl("delete", "node", "n1")


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        (["up"], r"use it with:\nkubectl --context anypod-cluster\n"),
        (["node", "n1", "stop"], "nodes of an existing cluster cannot be entered"),
        (["kubeconfig"], "is your own"),
    ],
    ids=lambda value: value[0],
)
def test_no_command_leaves_a_copy_of_the_kubeconfig(
    two_contexts: Path, node: None, tmp_path: Path, verb: list[str], said: str
) -> None:
    command = [sys.executable, "-m", "tests.cluster", *verb]
    command += ["--cluster=existing", "--context=anypod-cluster"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert re.search(said, done.stdout + done.stderr), done
    assert list(tmp_path.glob("*.kubeconfig")) == []


def test_images_that_are_said_to_be_there_are_called_as_it_calls_them(two_contexts: Path) -> None:
    names = ImageNames("registry.example/team/", "v1", "IfNotPresent")
    cluster = existing.use("anypod-cluster", names)
    try:
        cluster.load([Path("probe.tar")])
        assert cluster.images.of("localhost/anypod:dev") == "registry.example/team/anypod:v1"
    finally:
        cluster.down()


def test_what_reaches_beyond_its_namespaces_is_not_run_on_somebodys_cluster(
    api: ApiServer, two_contexts: Path
) -> None:
    """Whose pools would go with the custom resource."""
    api.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    api.kubectl("wait", "--for=condition=Established", CRD)
    identity = ("get", CRD, "--output=jsonpath={.metadata.uid}")
    before = api.kubectl(*identity)
    try:
        tests = ("tests/e2e/test_install.py", "tests/e2e/test_store.py", "tests/chaos", "-q", "-rs")
        where = ("--context=anypod-cluster", "--image-repository=registry.example/team")
        done = run_tests(*where, *tests)
        assert re.search(r"^\d+ skipped in", done, re.MULTILINE), done
        assert "not on a cluster that was there before: the custom resource" in done
        assert api.kubectl(*identity) == before
        assert not re.search("e2e|chaos", api.kubectl("get", "namespaces", "-oname"))
    finally:
        api.kubectl("delete", CRD)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "name the context of the existing cluster: --context NAME"),
        (["--context=anypod-cluster"], r"an existing cluster needs the images: push them"),
    ],
)
def test_a_run_of_tests_says_what_it_has_to_be_told(
    two_contexts: Path, options: list[str], said: str
) -> None:
    tests = [f"{ROOT}/tests/integration/cluster/test_cluster.py", "-k", "nodes_are_ready", "-rs"]
    told = run_tests(*options, *tests)
    assert re.search(said, told), told


def run_tests(*arguments: str) -> str:
    """What they print."""
    command = [sys.executable, "-m", "pytest", "--cluster=existing", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    return done.stdout + done.stderr
