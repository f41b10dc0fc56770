"""What goes wrong in a cluster, and what is done to AnyPod on purpose, under a steady load.

Each test is a row of the table in docs/failures.md, and prints it. The load goes on from the first
row to the last: every session's state must be as it was answered, over all that happened to it.
"""

import asyncio
import time
from collections.abc import Callable

import pytest
from tests.cluster import Pod
from tests.support.figures import Figure
from tests.support.installed import Release
from tests.support.load_watch import LoadWatch, Row, nothing_failed, only_lost_where_it_died
from tests.support.standing import (
    Standing,
    kill,
    look,
    patch,
    restarts,
    rolled_out,
    until,
    until_whole,
)

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes

WORKERS = 8
FEW = 3
HOG = "def main() -> int:\n    return len(bytearray(900 * 2**20).replace(b'\\0', b'1'))\n"


CALLERS, CALLERS_AT_LENGTH = 3, 8
"""Of each kind."""
WITHOUT_OPERATOR_SECONDS = 60
WITHOUT_API_SERVER_SECONDS = 30


@pytest.fixture(scope="module")
def load(release: Release, at_length: bool) -> LoadWatch:
    release.kubectl("delete", "pod", "load", "--ignore-not-found", "--timeout=60s", timeout=90)
    made = LoadWatch(release)
    callers = CALLERS_AT_LENGTH if at_length else CALLERS
    made.start(release.cluster.nodes()[0], callers=callers)
    return made


@pytest.fixture(autouse=True)
def whole(release: Release, load: LoadWatch, figure: Figure) -> None:
    """All is as it should be when a row begins."""
    load.figure = figure
    until_whole(release, WORKERS)


# what is done on purpose


def test_scale_in_and_out(release: Release, load: LoadWatch) -> None:
    with load.row(f"scale {WORKERS} → {FEW} → {WORKERS}") as row:
        for replicas in (FEW, WORKERS):
            release.kubectl("scale", "wp/default", f"--replicas={replicas}")
            until_whole(release, replicas)
    nothing_failed(row)


def test_rollout_of_a_new_preload(release: Release, load: LoadWatch) -> None:
    before = set(look(release).workers)
    with load.row("rollout of a new `preload`") as row:
        patch(release, {"preload": ["csv", "decimal"]})
        until_whole(release, WORKERS)
    assert not before & set(look(release).workers)
    nothing_failed(row)


def test_rollout_of_a_broken_image(release: Release, load: LoadWatch) -> None:
    """The old workers go on; the condition says why there are no new ones."""
    before = set(look(release).workers)
    image = "localhost/no-such-image:broken"
    with load.row("rollout of a broken image, and back") as row:
        patch(release, {"image": image})
        until(release, lambda now: now.is_true("Degraded"), "the pool is Degraded")
        now = look(release)
        assert now.condition("Degraded")["reason"] == "ImagePullFailed"
        assert image in now.condition("Degraded")["message"]
        assert now.is_true("Ready")
        assert before <= now.ready()
        patch(release, {"image": ""})
        until_whole(release, WORKERS)
    assert set(look(release).workers) == before
    nothing_failed(row)


def test_rolling_restart_of_the_gateways(release: Release, load: LoadWatch) -> None:
    deployment = f"deployment/{release.name}-gateway"
    with load.row("rolling restart of the gateways") as row:
        release.kubectl("rollout", "restart", deployment)
        rolled_out(release, deployment)
        until(release, lambda now: len(now.of("gateway")) == 2, "those that go have gone")
    nodes = {pod["spec"]["nodeName"] for pod in look(release).of("gateway").values()}
    assert nodes == set(release.cluster.nodes())
    nothing_failed(row)


# what is away for a while


def test_the_operator_is_away_while_workers_die(release: Release, load: LoadWatch) -> None:
    deployment = f"deployment/{release.name}-operator"
    away = f"operator away for {WITHOUT_OPERATOR_SECONDS} s"
    with load.row(f"{away}; a worker deleted") as row:
        began = time.monotonic()
        release.kubectl("scale", deployment, "--replicas=0")
        until(release, lambda now: not now.of("operator"), "no operator")
        deleted = next(iter(look(release).workers))
        release.kubectl("delete", "pod", deleted, "--wait=false")
        until(release, all_but(deleted), "another worker")
        time.sleep(max(0.0, began + WITHOUT_OPERATOR_SECONDS - time.monotonic()))
    nothing_failed(row)
    with load.row("operator still away; a worker killed") as row:
        kill_a_worker(release, row)
        until(release, all_but(), "all workers")
        release.kubectl("scale", deployment, "--replicas=1")
        rolled_out(release, deployment)
    only_lost_where_it_died(row)


def test_etcd_is_restarted(release: Release, load: LoadWatch) -> None:
    with load.row("AnyPod's etcd killed, and back") as row:
        kill(release, "etcd", f"{release.name}-etcd-0")
    only_lost_where_it_died(row)


def test_the_api_server_is_away(release: Release, load: LoadWatch) -> None:
    with load.row(f"Kubernetes' API server away for {WITHOUT_API_SERVER_SECONDS} s") as row:
        release.cluster.faults.stop_api_server(WITHOUT_API_SERVER_SECONDS)
        until_whole(release, WORKERS)
    nothing_failed(row)


# what is lost


def test_a_killed_worker(release: Release, load: LoadWatch) -> None:
    with load.row("a worker killed (SIGKILL)") as row:
        kill_a_worker(release, row)
        until_whole(release, WORKERS)
    only_lost_where_it_died(row)


def test_a_frozen_worker(release: Release, load: LoadWatch) -> None:
    """That comes back to a pool which has given it up."""
    name = next(iter(look(release).ready()))
    frozen = Pod(release.namespace, name)
    faults = release.cluster.faults
    with load.row("a worker frozen until it is not Ready, and thawed") as row:
        row.died.add(name)
        faults.freeze_container(frozen)
        try:
            until(release, lambda now: name not in now.ready(), "it is not Ready")
        finally:
            faults.thaw_container(frozen)
        until_whole(release, WORKERS)
    only_lost_where_it_died(row)


async def test_workers_out_of_memory(release: Release, load: LoadWatch) -> None:
    """Who took it is told so, or that the worker was lost, where the kernel ends whole pods."""
    async with release.calling() as gateway:
        await gateway.create(HOG, "hog")
        before = {name: restarts(pod) for name, pod in look(release).workers.items()}
        killed = killed_for_memory(release)
        with load.row("programs that take more memory than their pods have") as row:
            answers = await asyncio.gather(*(gateway.run("hog") for _ in range(4)))
            until_whole(release, WORKERS)
            after = {name: restarts(pod) for name, pod in look(release).workers.items()}
            row.died |= {name for name in before if after.get(name) != before[name]}
    assert {each.document["type"] for each in answers} <= {"out-of-memory", "worker-lost"}
    assert killed_for_memory(release) > killed
    only_lost_where_it_died(row)


def test_a_lost_node(release: Release, load: LoadWatch) -> None:
    """With a gateway: what it had been asked gets no answer, for there is nobody to give one."""
    node = release.cluster.nodes()[1]
    faults = release.cluster.faults
    with load.row("a node loses its power, with a gateway and workers; and back") as row:
        there = look(release).workers.items()
        row.died |= {name for name, pod in there if pod["spec"]["nodeName"] == node}
        faults.stop_node(node)
        try:
            until(release, lambda now: not row.died & now.ready(), "they are given up")
        finally:
            faults.start_node(node)
        until_whole(release, WORKERS)
    only_lost_where_it_died(row, besides={"AnswerLost"})


def test_every_session_has_what_was_answered(load: LoadWatch, release: Release) -> None:
    """After all of that; the load ends here."""
    sessions = load.stop()
    assert sessions.stored == sessions.known
    assert min(sessions.stored.values()) > 0


def all_but(*gone: str) -> Callable[[Standing], bool]:
    """As many workers as there should be, and none of these."""
    return lambda now: len(now.ready() - {*gone}) == WORKERS


def kill_a_worker(release: Release, row: Row) -> None:
    """Which comes back in its pod: soonest where none has died before."""
    there = look(release).workers
    name = min(there, key=lambda each: restarts(there[each]))
    row.died.add(name)
    kill(release, "worker", name)


def killed_for_memory(release: Release) -> int:
    """Processes, by the kernels of all nodes; each node has a gateway."""
    print_count = (
        "print(*[l.split()[1] for l in open('/proc/vmstat') if l.startswith('oom_kill ')])"
    )
    return sum(
        int(release.kubectl("exec", gateway, "--", "python", "-P", "-c", print_count))
        for gateway in look(release).ready("gateway")
    )
