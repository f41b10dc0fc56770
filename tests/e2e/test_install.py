"""The chart on a real cluster: install, first answer, upgrade under load, uninstall."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster import Cluster
from tests.support.chart import CHART, copy_of_version, find_helm, helm_on
from tests.support.cluster_tests import skip_if_theirs
from tests.support.figures import Figure
from tests.support.installed import MINUTES, RESTRICTED, Object, Release
from tests.support.load_watch import POD, LoadWatch, nothing_failed
from tests.support.namespaces import namespace, stays
from tests.support.steady_load import PLAIN

from anypod.resources import names

pytestmark = [
    pytest.mark.timeout(3600),  # the first run on a machine builds Kubernetes
    pytest.mark.usefixtures("installed"),
]

CRD = "crd/workerpools.anypod.dev"
CRD_FILE = CHART.parents[1] / "crds/workerpools.anypod.dev.yaml"
HOME = "e2e-install"
PATIENCE = 120.0
OF_EVERY_NAMESPACE = {"configmap/kube-root-ca.crt", "serviceaccount/default"}


@pytest.fixture(scope="module")
def bare_ground(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Without the custom resource, as before the first install; with it again for other tests."""
    if find_helm() is None:
        pytest.skip("e2e: no helm")
    skip_if_theirs(cluster, "the custom resource is deleted, and all pools with it")
    end_kept(cluster)
    cluster.kubectl("delete", CRD, "--ignore-not-found", "--timeout=120s", timeout=150)
    yield cluster
    if not stays(request):
        cluster.kubectl("delete", CRD, "--ignore-not-found", "--timeout=120s", timeout=150)
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD_FILE))
    cluster.kubectl("wait", "--for=condition=Established", CRD)


def end_kept(cluster: Cluster) -> None:
    """What earlier runs have left for a look: the custom resource is a release's, and all of them
    serve namespaces that this one is to serve."""
    for each in json.loads(helm_on(cluster.kubeconfig, "list", "--all-namespaces", "-ojson")):
        if each["chart"].startswith(f"{CHART.name}-"):
            within = f"--namespace={each['namespace']}"
            helm_on(cluster.kubeconfig, "uninstall", each["name"], within)


@pytest.fixture(scope="module")
def release(bare_ground: Cluster, request: pytest.FixtureRequest) -> Iterator[Release]:
    """Where a release will be, and is no more at the end."""
    with namespace(bare_ground, request, HOME, **RESTRICTED) as name:
        made = Release(bare_ground, "anypod", name)
        yield made
        if not stays(request):
            made.helm("uninstall", made.name, "--ignore-not-found", "--wait", "--timeout=2m")


@pytest.fixture(scope="module")
def readme(release: Release) -> list[str]:
    """What the README says to type once there is a cluster, for the release's namespace."""
    section = (CHART.parents[1] / "README.md").read_text().partition("## On Kubernetes\n")[2]
    block = section.partition("```console\n")[2].partition("```")[0]
    lines = [line.removeprefix("$ ") for line in block.splitlines()]
    assert lines.pop(0) == "make cluster"
    return [
        line.replace("--namespace anypod", f"--namespace {release.namespace}") for line in lines
    ]


@pytest.fixture(scope="module")
def installed(release: Release, readme: list[str]) -> float:
    """By the README's first line; the seconds that it took."""
    assert readme[0].startswith("helm install")
    began = time.monotonic()
    with release.shell(readme[0]):
        return time.monotonic() - began


def test_the_readme_leads_to_a_first_answer(
    release: Release, installed: float, readme: list[str], figure: Figure
) -> None:
    """By its lines, and nothing else; only the port may be taken on this machine."""
    _, apply, wait, forward, key, run = readme
    assert forward.endswith(" &")
    began = time.monotonic()
    with release.shell(f"{apply} && {wait}") as told:
        assert "condition met" in told
    ready = time.monotonic()
    port = str(free_port())
    open_port = f"until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.1; done"
    url = f"export ANYPOD_URL=http://127.0.0.1:{port}"
    lines = [forward.replace("8700", port), open_port, url, key, run]
    with release.shell("\n".join(lines)) as told:
        assert json.loads(told)[0]["speaker"] == "Ham"
    figure(
        f"helm install: all is ready after {installed:.1f} s;"
        f" kubectl apply: 4 workers are Ready after {ready - began:.1f} s;"
        f" the first answer {time.monotonic() - ready:.1f} s later"
    )


def test_the_notes_lead_to_an_answer(release: Release) -> None:
    """By the two commands that they print, and nothing else."""
    pool, call = commands(release.helm("get", "notes", release.name))[:2]
    with release.shell(pool) as told:
        assert "condition met" in told
    # Whatever else on this machine has the port.
    with release.shell(call.replace("8700", str(free_port()))) as told:
        assert json.loads(told)["outputs"] == "it runs"


def test_eight_workers_become_ready(release: Release, figure: Figure) -> None:
    began = time.monotonic()
    release.apply_pool("eight", replicas=8, executors=1)
    took = time.monotonic() - began
    status = release.get("wp/eight")["status"]
    assert status["readyReplicas"] == 8
    figure(
        f"a pool of 8 workers: all Ready {took:.1f} s after kubectl apply; the last worker, in"
        f" seconds of the pool: {last_of_each_phase(release, 'eight')}"
    )
    release.kubectl("delete", "wp/eight", "--timeout=60s", timeout=90)


def last_of_each_phase(release: Release, pool: str) -> dict[str, int]:
    """Kubernetes tells whole seconds."""
    made = release.get(f"wp/{pool}")["metadata"]["creationTimestamp"]
    pods = release.get("pods", f"--selector={names.POOL_LABEL}={pool}")["items"]
    phases: list[tuple[str, Callable[[Object], str]]] = [
        ("made", lambda pod: str(pod["metadata"]["creationTimestamp"])),
        ("scheduled", lambda pod: became(pod, "PodScheduled")),
        ("sandbox", lambda pod: became(pod, "PodReadyToStartContainers")),
        ("started", started),
        ("Ready", lambda pod: became(pod, "Ready")),
    ]
    return {what: seconds_between(made, max(map(when, pods))) for what, when in phases}


def became(pod: Object, condition: str) -> str:
    conditions = pod["status"]["conditions"]
    return next(str(each["lastTransitionTime"]) for each in conditions if each["type"] == condition)


def started(pod: Object) -> str:
    return str(pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"])


def seconds_between(one: str, other: str) -> int:
    return int((datetime.fromisoformat(other) - datetime.fromisoformat(one)).total_seconds())


WRONG: dict[str, Object] = {
    "PreloadFailed": {"preload": ["nosuch"]},
    "Unschedulable": {"template": {"spec": {"nodeSelector": {"no": "such-node"}}}},
}


def test_a_pool_says_why_it_has_no_workers(release: Release) -> None:
    for reason, spec in WRONG.items():
        release.create_pool(reason.lower(), replicas=1, **spec)
    for reason in WRONG:
        path = '{.status.conditions[?(@.type=="Degraded")].reason}'
        told = (f"--for=jsonpath={path}={reason}", f"--timeout={MINUTES}m")
        release.kubectl("wait", *told, f"wp/{reason.lower()}", timeout=MINUTES * 60 + 30)
    preload = release.get("wp/preloadfailed")["status"]["conditions"]
    assert any("nosuch" in each["message"] for each in preload if each["type"] == "Degraded")
    pools = [f"wp/{reason.lower()}" for reason in WRONG]
    release.kubectl("delete", *pools, "--timeout=60s", timeout=90)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def commands(notes: str) -> list[str]:
    return [line.strip() for line in notes.splitlines() if line.startswith("  ")]


def test_helm_test_runs_a_program(release: Release) -> None:
    told = release.helm("test", release.name, "--logs", "--timeout=8m")
    assert "a program ran on anypod-test-workers-" in told
    until_empty(lambda: {each for each in release.all_objects() if "/anypod-test" in each})


async def test_an_upgrade_fails_no_call_and_keeps_what_was_made(
    release: Release, tmp_path: Path, figure: Figure
) -> None:
    """Down to an older custom resource and back, with all gateways, the operator and all workers
    replaced, while 24 callers go on, eight of them in sessions."""
    kept = {name: release.secret(name) for name in secrets_of(release)}
    values = {"etcd.persistence.enabled": False, **the_same_worker_image(release)}
    older = older_chart(tmp_path)
    load = LoadWatch(release)
    load.figure = figure
    load.start(release.cluster.nodes()[0])
    with load.row("two upgrades of the chart, with another worker image") as row:
        before = workers(release)
        more = {"gateway.replicas": 3, **annotated("older")}
        release.install({**values, **more}, "upgrade", older)
        assert "recycle" not in properties_of_spec(release)
        until_empty(lambda: before & workers(release))
        release.install({**values, **annotated("newer")}, "upgrade")
        assert "recycle" in properties_of_spec(release)
        ready = ("--for=condition=Progressing=false", f"--timeout={MINUTES}m")
        release.kubectl("wait", *ready, "wp/default", timeout=MINUTES * 60 + 30)
    nothing_failed(row)
    assert row.answers.total() > 100
    sessions = load.stop()
    assert sessions.stored == sessions.known
    release.kubectl("delete", "pod", POD)
    assert {name: release.secret(name) for name in secrets_of(release)} == kept
    async with release.calling() as gateway:
        assert (await gateway.run(PLAIN, x=7)).outputs == 7


def workers(release: Release) -> set[str]:
    pods = release.get("pods", f"--selector={names.POOL_LABEL}=default")["items"]
    return {pod["metadata"]["name"] for pod in pods}


def the_same_worker_image(release: Release) -> dict[str, Any]:
    """By what it is, and not by its name, so that pods are other ones."""
    pods = release.get("pods", f"--selector={names.POOL_LABEL}=default")["items"]
    repository, at, digest = pods[0]["status"]["containerStatuses"][0]["imageID"].rpartition("@")
    if at:
        return {"workers.image.repository": repository, "workers.image.digest": digest}
    name, tag = digest.split(":")  # it was loaded, and has no digest in any registry
    return {"workers.image.repository": name, "workers.image.tag": tag}


def secrets_of(release: Release) -> list[str]:
    return [f"{release.name}-{which}" for which in ("link-key", "api-keys", "etcd-tls")]


def annotated(text: str) -> dict[str, Any]:
    """Values that make new pods."""
    return {f"{who}.podAnnotations": {"e2e": text} for who in ("gateway", "operator")}


def older_chart(directory: Path) -> Path:
    """Of another version, with a custom resource that lacks a field."""
    older = copy_of_version("0.0.9", directory)
    (file,) = (older / "files/crds").iterdir()
    definition = yaml.safe_load(file.read_text())
    spec = spec_schema(definition)
    del spec["properties"]["recycle"], spec["default"]["recycle"]
    file.write_text(yaml.safe_dump(definition))
    return older


def spec_schema(definition: Object) -> dict[str, Any]:
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found: dict[str, Any] = schema["properties"]["spec"]
    return found


def properties_of_spec(release: Release) -> set[str]:
    return set(spec_schema(release.get(CRD))["properties"])


def test_an_uninstall_leaves_pools_and_the_custom_resource_alone(
    release: Release, figure: Figure
) -> None:
    """And nothing holds their end up, though the operator is gone."""
    began = time.monotonic()
    release.uninstall()
    figure(f"helm uninstall with a pool there: {time.monotonic() - began:.1f} s")
    pool = "workerpool.anypod.dev/default"

    def ours() -> set[str]:
        left = release.all_objects() - OF_EVERY_NAMESPACE
        return {each for each in left if each != pool and "/default-" not in each}

    until_empty(ours)
    assert pool in release.all_objects()
    kinds = "clusterroles,clusterrolebindings,crds"
    chosen = f"--selector=app.kubernetes.io/instance={release.name}"
    cluster_wide = release.cluster.kubectl("get", kinds, chosen, "-oname").split()
    assert f"customresourcedefinition.apiextensions.k8s.io/{CRD[4:]}" in cluster_wide
    assert not [each for each in cluster_wide if release.namespace in each]
    release.kubectl("delete", "wp/default", "--timeout=60s", timeout=90)
    until_empty(lambda: release.all_objects() - OF_EVERY_NAMESPACE)


def until_empty(left: Callable[[], set[str]]) -> None:
    until = time.monotonic() + PATIENCE
    while found := left():
        assert time.monotonic() < until, found
        time.sleep(0.5)
