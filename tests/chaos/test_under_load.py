"""What goes wrong in a cluster, and what is done to AnyPod on purpose, under a steady load.

Each test is a row of the table in docs/failures.md, and prints it. The load goes on from the first
row to the last: every session's state must be as it was answered, over all that happened to it.
"""

import asyncio
import json
import time
from typing import Any

import pytest
from tests.cluster import Pod
from tests.cluster.waiting import wait_until
from tests.support.figures import Figure
from tests.support.installed import MINUTES, Object, Release
from tests.support.load_watch import LoadWatch, Row, nothing_failed, only_lost_where_it_died

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes

WORKERS = 8
FEW = 3
AWAY_SECONDS = 30
WITHOUT_OPERATOR_SECONDS = 60
PATIENCE = MINUTES * 60
POOL = "wp/default"
SPEC: Object = {
    "replicas": WORKERS,
    "executors": 2,
    "drainSeconds": 10,
    "rollout": {"maxSurge": "50%"},
    # Less than an executor may take: for want of memory it is the pod that is short.
    "template": {
        "spec": {"containers": [{"name": "worker", "resources": {"limits": {"memory": "640Mi"}}}]}
    },
}
HOG = "def main() -> int:\n    return len(bytearray(900 * 2**20).replace(b'\\0', b'1'))\n"


@pytest.fixture(scope="module")
def load(release: Release) -> LoadWatch:
    release.kubectl("delete", "pod", "load", "--ignore-not-found", "--timeout=60s", timeout=90)
    release.apply_pool(**SPEC)
    made = LoadWatch(release)
    made.start(release.cluster.nodes()[0])
    return made


@pytest.fixture(autouse=True)
def whole(release: Release, load: LoadWatch, figure: Figure) -> None:
    """All is as it should be when a row begins."""
    load.figure = figure
    all_ready(release)


# what is done on purpose


def test_scale_in_and_out(release: Release, load: LoadWatch) -> None:
    with load.row(f"scale {WORKERS} → {FEW} → {WORKERS}") as row:
        for replicas in (FEW, WORKERS):
            release.kubectl("scale", POOL, f"--replicas={replicas}")
            all_ready(release, replicas)
    nothing_failed(row)


def test_rollout_of_a_new_preload(release: Release, load: LoadWatch) -> None:
    before = set(workers(release))
    with load.row("rollout of a new `preload`") as row:
        patch(release, {"preload": ["csv", "decimal"]})
        all_ready(release)
    assert not before & set(workers(release))
    nothing_failed(row)


def test_rollout_of_a_broken_image(release: Release, load: LoadWatch) -> None:
    """The old workers go on; the condition says why there are no new ones."""
    before = set(workers(release))
    image = "localhost/no-such-image:broken"
    with load.row("rollout of a broken image, and back") as row:
        patch(release, {"image": image})
        wait_until(lambda: is_true(release, "Degraded"), "the pool is Degraded", PATIENCE)
        degraded = condition(release, "Degraded")
        assert degraded["reason"] == "ImagePullFailed"
        assert image in degraded["message"]
        assert is_true(release, "Ready")
        assert before <= {name for name, pod in workers(release).items() if is_ready(pod)}
        patch(release, {"image": ""})
        all_ready(release)
    assert set(workers(release)) == before
    nothing_failed(row)


def test_rolling_restart_of_the_gateways(release: Release, load: LoadWatch) -> None:
    deployment = f"deployment/{release.name}-gateway"
    with load.row("rolling restart of the gateways") as row:
        release.kubectl("rollout", "restart", deployment)
        rolled_out(release, deployment)
        # Those that go have gone.
        wait_until(lambda: len(pods(release, "gateway")) == 2, "two gateways", PATIENCE)
    assert {g["spec"]["nodeName"] for g in pods(release, "gateway").values()} == set(
        release.cluster.nodes()
    )
    nothing_failed(row)


# what is away for a while


def test_the_operator_is_away_while_workers_die(release: Release, load: LoadWatch) -> None:
    deployment = f"deployment/{release.name}-operator"
    with load.row(f"operator away for {WITHOUT_OPERATOR_SECONDS} s; a worker deleted") as row:
        began = time.monotonic()
        release.kubectl("scale", deployment, "--replicas=0")
        wait_until(lambda: not pods(release, "operator"), "no operator", PATIENCE)
        deleted = next(iter(workers(release)))
        release.kubectl("delete", "pod", deleted, "--wait=false")
        wait_until(
            lambda: len(ready_workers(release) - {deleted}) == WORKERS, "another worker", PATIENCE
        )
        time.sleep(max(0.0, began + WITHOUT_OPERATOR_SECONDS - time.monotonic()))
    nothing_failed(row)
    with load.row("operator still away; a worker killed") as row:
        kill(release, row)
        wait_until(lambda: len(ready_workers(release)) == WORKERS, "all workers", PATIENCE)
        release.kubectl("scale", deployment, "--replicas=1")
        rolled_out(release, deployment)
    only_lost_where_it_died(row)


def test_etcd_is_restarted(release: Release, load: LoadWatch) -> None:
    etcd = f"{release.name}-etcd-0"
    before = restarts(pods(release, "etcd")[etcd])
    with load.row("AnyPod's etcd killed, and back") as row:
        release.cluster.faults.kill_process(Pod(release.namespace, etcd))
        wait_until(
            lambda: restarts(there := pods(release, "etcd")[etcd]) > before and is_ready(there),
            "etcd is back",
            PATIENCE,
        )
    only_lost_where_it_died(row, besides={"store-unavailable"})


def test_the_api_server_is_away(release: Release, load: LoadWatch) -> None:
    with load.row(f"Kubernetes' API server away for {AWAY_SECONDS} s") as row:
        release.cluster.faults.stop_api_server(AWAY_SECONDS)
        all_ready(release)
    nothing_failed(row)


# what is lost


def test_a_killed_worker(release: Release, load: LoadWatch) -> None:
    with load.row("a worker killed (SIGKILL)") as row:
        kill(release, row)
        all_ready(release)
    only_lost_where_it_died(row)


def test_a_frozen_worker(release: Release, load: LoadWatch) -> None:
    """That comes back to a pool which has given it up."""
    name = next(iter(ready_workers(release)))
    frozen = Pod(release.namespace, name)
    faults = release.cluster.faults
    with load.row("a worker frozen until it is not Ready, and thawed") as row:
        row.died.add(name)
        faults.freeze_container(frozen)
        try:
            wait_until(lambda: name not in ready_workers(release), "it is not Ready", PATIENCE)
        finally:
            faults.thaw_container(frozen)
        all_ready(release)
    only_lost_where_it_died(row)


async def test_workers_out_of_memory(release: Release, load: LoadWatch) -> None:
    """Who took it is told so, or that the worker was lost, where the kernel ends whole pods."""
    async with release.calling() as gateway:
        await gateway.create(HOG, "hog")
        before = {name: restarts(pod) for name, pod in workers(release).items()}
        killed = killed_for_memory(release)
        with load.row("programs that take more memory than their pods have") as row:
            answers = await asyncio.gather(*(gateway.run("hog") for _ in range(4)))
            all_ready(release)
            after = {name: restarts(pod) for name, pod in workers(release).items()}
            row.died |= {name for name in before if after.get(name) != before[name]}
    assert {each.document["type"] for each in answers} <= {"out-of-memory", "worker-lost"}
    assert killed_for_memory(release) > killed
    only_lost_where_it_died(row)


def test_a_lost_node(release: Release, load: LoadWatch) -> None:
    """With a gateway: what it had been asked gets no answer, for there is nobody to give one."""
    node = release.cluster.nodes()[1]
    faults = release.cluster.faults
    with load.row("a node loses its power, with a gateway and workers; and back") as row:
        row.died |= {n for n, pod in workers(release).items() if pod["spec"]["nodeName"] == node}
        faults.stop_node(node)
        try:
            wait_until(lambda: not row.died & ready_workers(release), "they are given up", PATIENCE)
        finally:
            faults.start_node(node)
        all_ready(release)
    only_lost_where_it_died(row, besides={"AnswerLost"})


def test_every_session_has_what_was_answered(load: LoadWatch, release: Release) -> None:
    """After all of that; the load ends here."""
    sessions = load.stop()
    assert sessions.stored == sessions.known
    assert min(sessions.stored.values()) > 0


# the pool, and what there is of it


def patch(release: Release, spec: Object) -> None:
    release.kubectl("patch", POOL, "--type=merge", f"--patch={json.dumps({'spec': spec})}")


def condition(release: Release, kind: str) -> Object:
    """As it is told of the present spec."""
    pool = release.get(POOL)
    for each in pool["status"]["conditions"]:
        if each["type"] == kind and each["observedGeneration"] == pool["metadata"]["generation"]:
            return dict(each)
    return {"status": "Unknown"}


def is_true(release: Release, kind: str) -> bool:
    return condition(release, kind).get("status") == "True"


def pods(release: Release, component: str) -> dict[str, Object]:
    """By name."""
    found = release.get("pods", f"--selector=app.kubernetes.io/component={component}")["items"]
    return {pod["metadata"]["name"]: pod for pod in found}


def workers(release: Release) -> dict[str, Object]:
    """None that is going."""
    found = pods(release, "worker")
    return {n: pod for n, pod in found.items() if "deletionTimestamp" not in pod["metadata"]}


def is_ready(pod: Object) -> bool:
    conditions: list[Any] = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def ready_workers(release: Release) -> set[str]:
    return {name for name, pod in workers(release).items() if is_ready(pod)}


def ready_gateways(release: Release) -> set[str]:
    return {name for name, pod in pods(release, "gateway").items() if is_ready(pod)}


def restarts(pod: Object) -> int:
    return sum(each["restartCount"] for each in pod["status"].get("containerStatuses", []))


def killed_for_memory(release: Release) -> int:
    """Processes, by the kernels of all nodes; each node has a gateway."""
    print_count = (
        "print(*[l.split()[1] for l in open('/proc/vmstat') if l.startswith('oom_kill ')])"
    )
    return sum(
        int(release.kubectl("exec", gateway, "--", "python", "-P", "-c", print_count))
        for gateway in ready_gateways(release)
    )


def kill(release: Release, row: Row) -> None:
    """One worker, which comes back in its pod."""
    name = next(iter(ready_workers(release)))
    before = restarts(workers(release)[name])
    row.died.add(name)
    release.cluster.faults.kill_process(Pod(release.namespace, name))
    wait_until(
        lambda: restarts(workers(release)[name]) > before and name in ready_workers(release),
        "it is back",
        PATIENCE,
    )


def rolled_out(release: Release, deployment: str) -> None:
    release.kubectl(
        *("rollout", "status", deployment, f"--timeout={MINUTES}m"), timeout=PATIENCE + 30
    )


def all_ready(release: Release, replicas: int = WORKERS) -> None:
    """The pool, as it is told to be, and nothing but that; and what serves it."""

    def is_so() -> bool:
        progress, there = condition(release, "Progressing"), pods(release, "worker")
        return progress["status"] == "False" and len(there) == len(ready_workers(release))

    wait_until(lambda: is_so() and len(workers(release)) == replicas, "all workers", PATIENCE)
    wait_until(lambda: len(ready_gateways(release)) == 2, "both gateways", PATIENCE)
