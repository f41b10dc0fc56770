"""The promises of the bare provider to the machine that it runs on."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest
from tests.cluster import bare, remains
from tests.cluster.addresses import RANGE, Addresses
from tests.cluster.bare import BareCluster
from tests.cluster.own_images import PROBE
from tests.cluster.versions import kubernetes
from tests.cluster.waiting import wait_until
from tests.support.machine import Machine, left_by, machine
from tests.support.probes import NAMESPACE, Probes

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes

# A slot of their own: these clusters are killed and ended.
PLAN = Addresses(3)
ROOT = Path(__file__).resolve().parents[3]
KILLS = 5
SECONDS = 300
# What is made in these folders and goes with the cluster.
MADE = {"/run": {"netns"}, "/var/lib": {"anypod-cluster", "cni", "kubelet"}}


@pytest.fixture(scope="module", autouse=True)
def bare_is_possible() -> None:
    reason = bare.why_no_bare(kubernetes())
    if reason is not None:
        pytest.skip(f"bare: {reason}")


@pytest.fixture(scope="module")
def before(bare_is_possible: None) -> Machine:
    bare.end(PLAN)
    return machine()


@pytest.fixture(scope="module")
def up(before: Machine) -> Iterator[BareCluster]:
    began = time.monotonic()
    cluster = bare.start(PLAN, kubernetes(), 2, keep=False)
    seconds = time.monotonic() - began
    sys.stdout.write(f"\nfrom a warm cache, 2 nodes are Ready after {seconds:.1f} s\n")
    yield cluster
    cluster.down()


@pytest.fixture(scope="module")
def probes(up: BareCluster) -> Probes:
    up.load([PROBE.archive()])
    started = Probes(up)
    for node in up.nodes():
        started.start(f"on-{node}", node)
    return started


def test_the_machines_settings_firewall_and_folders_stay_as_they_were(
    before: Machine, up: BareCluster, probes: Probes
) -> None:
    now = machine()
    assert now.settings == before.settings
    assert now.firewall == before.firewall
    for folder, names in now.folders.items():
        assert names - before.folders[folder] <= MADE.get(folder, set()), folder


def test_no_packet_can_leave_the_machine(up: BareCluster, probes: Probes) -> None:
    for node in up.nodes():
        assert not up.run(node, "ip", "route", "show", "default")
    route = ("ip", "route", "show", RANGE)
    here = subprocess.run(route, capture_output=True, text=True, timeout=10, check=True)
    assert here.stdout.startswith("blackhole")


def test_this_machine_reaches_pods_and_services_as_a_client_does(
    up: BareCluster, probes: Probes
) -> None:
    address = ("--output=jsonpath={.spec.clusterIP}", f"--namespace={NAMESPACE}")
    for node in up.nodes():
        name = f"on-{node}"
        service = up.kubectl("get", "service", name, *address)
        for url in (probes.url(name), f"http://{service}/"):
            wait_until(partial(_answers, url), f"{url} answers", 60)
            assert (_get(url) or "").startswith(name)


def test_a_node_sees_its_own_kernel_settings(up: BareCluster) -> None:
    """Kubelet found them as it wants them; this is why it changed nothing."""
    assert up.run("n1", "cat", "/proc/sys/kernel/panic").strip() == "10"
    assert up.run("n1", "cat", "/proc/sys/vm/overcommit_memory").strip() == "1"


def test_the_end_of_another_cluster_takes_nothing_from_this_ones_nodes(up: BareCluster) -> None:
    """The kernel unmounts a folder everywhere when it is removed anywhere."""
    bare.end(Addresses(4))
    config = f"/{PLAN.slot}/n1/kubelet.json"
    (kubelet,) = (
        process
        for process in Path("/proc").glob("[0-9]*")
        if config in (process / "cmdline").read_text() and os.getpid() != int(process.name)
    )
    assert " /var/lib/kubelet " in (kubelet / "mountinfo").read_text()


def test_a_second_start_finds_the_cluster_that_is_up(up: BareCluster) -> None:
    assert f"export KUBECONFIG={up.kubeconfig}" in _told("up")
    assert _told("kubeconfig").strip() == str(up.kubeconfig)


def test_its_nodes_are_reached_by_the_command_line(up: BareCluster, probes: Probes) -> None:
    url = probes.url("on-n2")
    wait_until(partial(_answers, url), f"{url} answers", 60)
    _told("load", str(PROBE.archive()))
    _told("node", "n2", "isolate")
    assert not _answers(url)
    _told("node", "n2", "heal")
    wait_until(partial(_answers, url), f"{url} answers again", 60)


def test_a_cluster_of_another_version_is_not_taken_for_the_one_that_was_asked_for(
    up: BareCluster,
) -> None:
    done = _command("up", KUBERNETES="v1.30.0")
    assert done.returncode != 0
    assert "is up, not v1.30.0 with 2: end it first (make cluster-down)" in done.stderr


def test_it_ends_and_leaves_nothing(before: Machine, up: BareCluster, probes: Probes) -> None:
    up.down()
    assert left_by(PLAN) == []
    now = machine()
    assert now.settings == before.settings
    assert now.firewall == before.firewall
    for folder, names in now.folders.items():
        assert names <= before.folders[folder] | {"netns"}, folder


def test_the_end_of_nothing_is_no_error(up: BareCluster) -> None:
    _told("down")


def test_a_start_that_was_killed_at_any_moment_leaves_nothing_either(before: Machine) -> None:
    began = time.monotonic()
    _told("up")
    whole = time.monotonic() - began
    bare.end(PLAN)
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    for _ in range(KILLS):
        seconds = moments.uniform(0, whole)
        _kill_after(seconds)
        _told("down")
        assert left_by(PLAN) == [], f"killed after {seconds:.2f} s (seed {seed})"
    # The next start also clears what was left.
    _kill_after(moments.uniform(0, whole))
    _told("up")
    bare.end(PLAN)
    assert left_by(PLAN) == []


def test_what_a_machine_had_before_it_was_started_anew_is_not_taken_for_a_cluster(
    before: Machine,
) -> None:
    """Namespaces and processes are gone then, and the files are not."""
    bare.start(PLAN, kubernetes(), 1, keep=True)
    remains.remove(PLAN)
    assert bare.running(PLAN) is None
    bare.end(PLAN)
    assert left_by(PLAN) == []


def test_two_starts_at_once_make_one_cluster(before: Machine) -> None:
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(_command, ["up", "up"]))
    try:
        assert [done.returncode for done in both] == [0, 0]
        assert both[0].stdout.splitlines()[-2:] == both[1].stdout.splitlines()[-2:]
        found = bare.running(PLAN)
        assert found is not None
        found.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
    finally:
        bare.end(PLAN)


def _start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    verb, *others = arguments
    ours = ("--cluster=bare", f"--slot={PLAN.slot}")
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cluster", verb, *ours, *others],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def _command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    process = _start(*arguments, **environment)
    try:
        stdout, stderr = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def _told(*arguments: str) -> str:
    """What a command prints that must succeed."""
    done = _command(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _kill_after(seconds: float) -> None:
    process = _start("up")
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate(timeout=SECONDS)


def _answers(url: str) -> bool:
    return _get(url) is not None


def _get(url: str) -> str | None:
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=2) as answer:
            content: bytes = answer.read()
            return content.decode()
    except OSError:
        return None
