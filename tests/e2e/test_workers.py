"""Worker pods as a Deployment makes them: when they are routed to, and when no more."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.cluster import Pod
from tests.support.figures import Figure
from tests.support.in_cluster import Place
from tests.support.rig import Caller

from anypod_operator.status import time_to_ready

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes

PATIENCE = 120.0
ECHO = "def main(x: int) -> int:\n    return x\n"
CALLERS = 4
"""Of each program."""


async def until(what: Callable[[], Any]) -> Any:
    async with asyncio.timeout(PATIENCE):
        while not (found := await what()):
            await asyncio.sleep(0.1)
    return found


async def test_a_pod_is_ready_only_after_its_preload(place: Place, figure: Figure) -> None:
    """A call that comes before that waits, and is answered."""
    seconds = 6
    module = f"import time\ntime.sleep({seconds})\nVALUE = 42\n"
    await place.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "modules"},
            "data": {"slow_to_import.py": module},
        }
    )
    mount = {"name": "worker", "volumeMounts": [{"name": "modules", "mountPath": "/modules"}]}
    volumes = [{"name": "modules", "configMap": {"name": "modules"}}]
    await place.add_gateway(place.cluster.nodes()[0])
    await place.add_pool(
        replicas=1,
        preload=["slow_to_import"],
        env=[{"name": "PYTHONPATH", "value": "/modules"}],
        template={"spec": {"containers": [mount], "volumes": volumes}},
    )
    async with place.calling() as gateway:
        source = "import slow_to_import\ndef main() -> int:\n    return slow_to_import.VALUE\n"
        assert await gateway.create(source, "early") == "early"
        assert (await gateway.run("early")).outputs == 42
    pods = await place.pods()
    took = time_to_ready(pods)
    assert took is not None
    assert took.preloaded_seconds >= seconds - 1  # Kubernetes tells whole seconds
    figure(f"a preload of {seconds} s, as a pool's status says it: {took}")


async def test_programs_run_on_every_pod_of_the_slices(place: Place) -> None:
    await place.add_gateway(place.cluster.nodes()[0])
    await place.add_pool(replicas=3)
    await place.rolled_out("default-workers")
    names = {pod["metadata"]["name"] for pod in await place.pods()}
    async with place.calling() as gateway:

        async def all_ready() -> bool:
            found = (await gateway.ask("GET", "/workers")).document["items"]
            return {each["name"] for each in found if each["ready"]} == names

        await until(all_ready)
        await gateway.create(ECHO, "echo")
        answers = await asyncio.gather(*(gateway.run("echo", x=n) for n in range(60)))
        assert [answer.outputs for answer in answers] == list(range(60))
        assert {answer.headers["X-AnyPod-Worker"] for answer in answers} == names

        await place.kubectl("scale", "deployment/default-workers", "--replicas=1")

        async def one_is_left() -> bool:
            found = (await gateway.ask("GET", "/workers")).document["items"]
            return len(found) == 1 and len(await place.pods()) == 1

        await until(one_is_left)
        answers = await asyncio.gather(*(gateway.run("echo", x=n) for n in range(20)))
        assert [answer.outputs for answer in answers] == list(range(20))


@dataclass
class Load:
    """What callers that call without a pause were told, and by whom."""

    outcomes: Counter[str] = field(default_factory=Counter)
    answers: list[tuple[float, str]] = field(default_factory=list)
    """When, and by which worker."""
    slowest: float = 0.0

    def __str__(self) -> str:
        return f"{dict(self.outcomes)}, slowest {self.slowest:.2f} s"


@contextlib.asynccontextmanager
async def under_load(gateway: Caller, program: str) -> AsyncIterator[Load]:
    load, going = Load(), True

    async def call() -> None:
        number = 0
        while going:
            number += 1
            began = time.monotonic()
            answer = await gateway.run(program, x=number)
            ended = time.monotonic()
            load.slowest = max(load.slowest, ended - began)
            if answer.status == 200:
                assert answer.outputs == number
                load.outcomes["ok"] += 1
                load.answers.append((ended, answer.headers["X-AnyPod-Worker"]))
            else:
                load.outcomes[answer.document["type"]] += 1

    callers = [asyncio.create_task(call()) for _ in range(CALLERS)]
    try:
        yield load
    finally:
        going = False
        await asyncio.wait(callers)
        for caller in callers:
            caller.result()


FAULTS = {
    "a killed supervisor": lambda faults, pod, _node: faults.kill_process(pod),
    "a frozen container": lambda faults, pod, _node: faults.freeze_container(pod),
    "an isolated node": lambda faults, _pod, node: faults.isolate_node(node),
}
MENDED = {
    "a killed supervisor": lambda _faults, _pod, _node: None,
    "a frozen container": lambda faults, pod, _node: faults.thaw_container(pod),
    "an isolated node": lambda faults, _pod, node: faults.heal_node(node),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_happens_to_a_worker_is_noticed(
    place: Place, figure: Figure, fault: str
) -> None:
    """Idempotent calls never fail; of the others, only what ran where it happened."""
    first, second = place.cluster.nodes()[:2]
    await place.add_gateway(first)
    await place.add_pool(replicas=2, executors=2)
    await place.rolled_out("default-workers")
    faults = place.cluster.faults
    async with place.calling() as gateway:
        await gateway.create(ECHO, "idempotent", idempotent=True)
        await gateway.create(ECHO + "# not idempotent", "other")
        victim = next(p for p in await place.pods() if p["spec"]["nodeName"] == second)
        name = victim["metadata"]["name"]
        pod = Pod(place.namespace, name)
        async with (
            under_load(gateway, "idempotent") as idempotent,
            under_load(gateway, "other") as other,
        ):
            await until(lambda: _has_answered(idempotent, name))
            happened = time.monotonic()
            try:
                await asyncio.to_thread(FAULTS[fault], faults, pod, second)
                done = time.monotonic()
                await until(lambda: _is_out(gateway, name))
                noticed = time.monotonic()
            finally:
                await asyncio.to_thread(MENDED[fault], faults, pod, second)
            await until(lambda: _has_answered(idempotent, name, since=noticed))
            back = time.monotonic()
    figure(
        f"{fault}: no more calls sent there {noticed - happened:.2f} s after it began"
        f" ({done - happened:.2f} s to do it), back {back - noticed:.1f} s later;"
        f" idempotent calls: {idempotent}; others: {other}"
    )
    assert set(idempotent.outcomes) == {"ok"}
    assert set(other.outcomes) <= {"ok", "worker-lost"}
    assert other.outcomes["worker-lost"] <= CALLERS


async def _is_out(gateway: Caller, worker: str) -> bool:
    """The gateway sends nothing there any more."""
    found = await gateway.ask("GET", f"/workers/{worker}")
    return found.status == 404 or not found.document["ready"]


async def _has_answered(load: Load, worker: str, since: float = 0.0) -> bool:
    return any(who == worker and at > since for at, who in load.answers)
