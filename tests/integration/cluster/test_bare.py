"""The promises of the bare provider to the machine that it runs on."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest
from tests.cluster import bare, images, remains, slots
from tests.cluster.addresses import RANGE, Addresses
from tests.cluster.bare import BareCluster
from tests.cluster.own_images import PROBE
from tests.cluster.versions import kubernetes
from tests.cluster.waiting import wait_until
from tests.support.figures import Figure
from tests.support.machine import Machine, left_by, machine
from tests.support.probes import NAMESPACE, Probes

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes

ROOT = Path(__file__).resolve().parents[3]
KILLS = 5
SECONDS = 300
WITHOUT_IMAGES = "--without-images"
WRITES = """
import pathlib, sys
for number in range(20_000):
    pathlib.Path(sys.argv[1], str(number)).touch()
"""


class CommandLine:
    """``python -m tests.cluster``, about one bare cluster."""

    def __init__(self, plan: Addresses) -> None:
        self._plan = plan

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        verb, *others = arguments
        ours = ["--cluster=bare", f"--slot={self._plan.slot}"]
        if verb == "up":
            ours.append("--of-a-run")
        return subprocess.Popen(
            [sys.executable, "-m", "tests.cluster", verb, *ours, *others],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environment)
        try:
            stdout, stderr = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def told(self, *arguments: str) -> str:
        """What a command prints that must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def up_killed_after(self, seconds: float, *arguments: str) -> None:
        process = self.start("up", *arguments)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate(timeout=SECONDS)

    def up_killed_when_there_is(self, path: str, *arguments: str) -> None:
        """Of the cluster's folder. At once: the moment is what such a test is about."""
        process = self.start("up", *arguments)
        file = bare.state_of(self._plan) / path
        until = time.monotonic() + SECONDS
        try:
            while not file.exists():
                assert process.poll() is None, "the start has ended"
                assert time.monotonic() < until, f"no {file}"
                time.sleep(0.005)
        finally:
            process.kill()
            process.communicate(timeout=SECONDS)


@pytest.fixture(scope="module", autouse=True)
def bare_is_possible() -> None:
    reason = bare.why_no_bare(kubernetes()) or PROBE.why_not()
    if reason is not None:
        pytest.skip(f"bare: {reason}")


@pytest.fixture(scope="module")
def plan(bare_is_possible: None) -> Iterator[Addresses]:
    """Of these tests alone: their clusters are killed and ended."""
    slot = slots.take()
    yield Addresses(slot)
    bare.end(Addresses(slot))
    slots.give_back(slot)


@pytest.fixture(scope="module")
def command_line(plan: Addresses) -> CommandLine:
    return CommandLine(plan)


@pytest.fixture(scope="module")
def before(plan: Addresses) -> Machine:
    bare.end(plan)
    return machine()


@pytest.fixture(scope="module")
def up(plan: Addresses, before: Machine) -> Iterator[BareCluster]:
    yield bare.start(plan, kubernetes(), 2, keep=True, archives=[PROBE.archive()])
    # The slot stays these tests' own, as it would not if the cluster ended it itself.
    bare.end(plan)


@pytest.fixture(scope="module")
def loaded() -> tuple[str, ...]:
    """What ``up`` is told so that nodes have the project's images, where these can be had."""
    try:
        archives = images.archives()
    except images.CannotBuild:
        return (WITHOUT_IMAGES,)
    bare.prepare(kubernetes(), archives)
    return ()


@pytest.fixture(scope="module")
def seconds_of_a_start(
    plan: Addresses, command_line: CommandLine, loaded: tuple[str, ...]
) -> float:
    began = time.monotonic()
    command_line.told("up", *loaded)
    taken = time.monotonic() - began
    bare.end(plan)
    return taken


@pytest.fixture(scope="module")
def probes(up: BareCluster) -> Probes:
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
    assert now.written == before.written


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


def mounts_of(argument: str) -> Iterator[str]:
    """Of the processes of this machine, or of a node, that were given such an argument."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            if argument in (process / "cmdline").read_text():
                yield (process / "mountinfo").read_text()


def test_the_end_of_another_cluster_takes_nothing_from_this_ones_nodes(
    plan: Addresses, up: BareCluster
) -> None:
    """The kernel unmounts a folder everywhere when it is removed anywhere."""
    other = slots.take()
    bare.end(Addresses(other))
    slots.give_back(other)
    (mounts,) = mounts_of(f"/{plan.slot}/n1/kubelet.json")
    assert " /var/lib/kubelet " in mounts


def test_a_second_start_finds_the_cluster_that_is_up(
    command_line: CommandLine, up: BareCluster
) -> None:
    assert f"export KUBECONFIG={up.kubeconfig}" in command_line.told("up", WITHOUT_IMAGES)
    assert command_line.told("kubeconfig").strip() == str(up.kubeconfig)


def test_its_nodes_are_reached_by_the_command_line(
    command_line: CommandLine, up: BareCluster, probes: Probes
) -> None:
    url = probes.url("on-n2")
    wait_until(partial(_answers, url), f"{url} answers", 60)
    command_line.told("load", str(PROBE.archive()))
    command_line.told("node", "n2", "isolate")
    assert not _answers(url)
    command_line.told("node", "n2", "heal")
    wait_until(partial(_answers, url), f"{url} answers again", 60)


def test_a_cluster_of_another_version_is_not_taken_for_the_one_that_was_asked_for(
    command_line: CommandLine, up: BareCluster
) -> None:
    done = command_line.run("up", WITHOUT_IMAGES, KUBERNETES="v1.30.0")
    assert done.returncode != 0
    assert "is up, not v1.30.0 with 2: end it first (make cluster-down)" in done.stderr


def test_it_ends_and_leaves_nothing(
    plan: Addresses, before: Machine, up: BareCluster, probes: Probes
) -> None:
    bare.end(plan)
    assert left_by(plan) == []
    now = machine()
    assert now.settings == before.settings
    assert now.firewall == before.firewall
    assert now.written == before.written


def test_the_end_of_nothing_is_no_error(command_line: CommandLine) -> None:
    command_line.told("down")


def test_a_start_that_was_killed_at_any_moment_leaves_nothing_either(
    plan: Addresses,
    command_line: CommandLine,
    seconds_of_a_start: float,
    loaded: tuple[str, ...],
    figure: Figure,
) -> None:
    whole = seconds_of_a_start
    figure(f"a bare cluster of 2 nodes, from a warm cache: up after {whole:.1f} s")
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    for _ in range(KILLS):
        seconds = moments.uniform(0, whole)
        command_line.up_killed_after(seconds, *loaded)
        command_line.told("down")
        assert left_by(plan) == [], f"killed after {seconds:.2f} s (seed {seed})"
    # The next start also clears what was left.
    command_line.up_killed_after(moments.uniform(0, whole), *loaded)
    command_line.told("up", *loaded)
    bare.end(plan)
    assert left_by(plan) == []


def test_a_start_that_was_killed_while_it_links_images_leaves_nothing_either(
    plan: Addresses, command_line: CommandLine, loaded: tuple[str, ...]
) -> None:
    """Some twenty thousand files, written by another program than the one that is killed."""
    command_line.up_killed_when_there_is("n1/containerd", *loaded)
    command_line.told("down")
    assert left_by(plan) == []


def test_an_end_bears_what_is_still_being_written(plan: Addresses) -> None:
    folder = bare.state_of(plan) / "n1"
    folder.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", WRITES, folder]):
        # Enough that others come while these are removed.
        wait_until((folder / "5000").exists, "it is at it", SECONDS)
        bare.end(plan)
    assert left_by(plan) == []


def test_an_end_also_ends_what_killed_runs_have_left_but_nothing_of_those_that_live(
    plan: Addresses, command_line: CommandLine
) -> None:
    other = Addresses(slots.take())
    bare.end(other)
    file = bare.state_of(other) / "n1" / "of-this-test"
    file.parent.mkdir(parents=True)
    file.touch()
    home = other.namespace(1)
    subprocess.run(["ip", "netns", "add", home], timeout=10, check=True)
    with subprocess.Popen(["ip", "netns", "exec", home, "sleep", "60"]) as process:
        command_line.told("down")
        assert process.poll() is None
        assert file.exists()
        slots.give_back(other.slot)  # as if its run had been killed
        command_line.told("down")
        assert process.poll() == -signal.SIGKILL
    assert not file.exists()


def test_an_end_that_was_killed_at_any_moment_is_finished_by_the_next(
    plan: Addresses, command_line: CommandLine
) -> None:
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    for number in range(3):
        if number == 0:
            bare.start(plan, kubernetes(), 1, keep=True)
        else:
            nodes_run = "n1/pids/kubelet"
            command_line.up_killed_when_there_is(nodes_run, "--nodes=1", WITHOUT_IMAGES)
        process = command_line.start("down")
        time.sleep(moments.uniform(0, 1.5))  # the moment is what the test is about
        process.kill()
        process.communicate(timeout=SECONDS)
        command_line.told("down")
        assert left_by(plan) == [], f"seed {seed}"


def test_what_a_machine_had_before_it_was_started_anew_is_not_taken_for_a_cluster(
    plan: Addresses,
) -> None:
    """Namespaces and processes are gone then, and the files are not."""
    bare.start(plan, kubernetes(), 1, keep=True)
    remains.remove(plan)
    assert bare.running(plan) is None
    bare.end(plan)
    assert left_by(plan) == []


def test_two_starts_at_once_make_one_cluster(plan: Addresses, command_line: CommandLine) -> None:
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(command_line.run, ["up", "up"], [WITHOUT_IMAGES] * 2))
    try:
        assert [done.returncode for done in both] == [0, 0]
        assert both[0].stdout.splitlines()[-2:] == both[1].stdout.splitlines()[-2:]
        found = bare.running(plan)
        assert found is not None
        found.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
    finally:
        bare.end(plan)


def _answers(url: str) -> bool:
    return _get(url) is not None


def _get(url: str) -> str | None:
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=2) as answer:
            content: bytes = answer.read()
            return content.decode()
    except OSError:
        return None
