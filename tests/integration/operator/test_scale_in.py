"""A scale-in takes idle workers first: told by real workers, on addresses of loopback."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from tests.support.kubernetes_api import Raw
from tests.support.operated import RULES, Namespace, until
from tests.support.operator_process import OperatorProcess
from tests.support.worker import Worker, linked, started_worker, worker_config

from anypod.resources.names import WORKER_PORT
from anypod.wire.messages import SessionRef


class Elsewhere(Worker):
    """On another address of loopback than tests have otherwise."""

    @property
    def url(self) -> str:
        return f"http://{self.config.host}:{self.port}"


COST = "controller.kubernetes.io/pod-deletion-cost"


@contextlib.asynccontextmanager
async def workers(count: int) -> AsyncIterator[dict[str, Worker]]:
    """By address: each on one of its own of loopback, on the port that pods have."""
    net = f"127.{random.randrange(1, 255)}.{random.randrange(255)}"
    async with AsyncExitStack() as stack:
        found = {}
        for number in range(1, count + 1):
            host = f"{net}.{number}"
            config = worker_config(f"w{number}", host=host, port=WORKER_PORT, executors=2)
            worker = await stack.enter_async_context(started_worker(config))
            found[host] = Elsewhere(**vars(worker))
        yield found


def costs(space: Namespace) -> dict[str, str]:
    """By the pod's address."""
    return {
        pod["status"]["podIP"]: pod["metadata"].get("annotations", {}).get(COST, "")
        for pod in space.pods()
    }


@pytest.mark.timeout(240)
async def test_workers_with_sessions_stay_and_idle_ones_go(
    space: Namespace, own: OperatorProcess
) -> None:
    async with workers(4) as running, AsyncExitStack() as stack:
        addresses = list(running)
        await asyncio.to_thread(begin, space, own, addresses)
        # The first has a session, the second runs something, the others are idle.
        first = await stack.enter_async_context(linked(running[addresses[0]]))
        second = await stack.enter_async_context(linked(running[addresses[1]]))
        await first.run("def main(): return 1", session=SessionRef(key="s", epoch=1))
        busy = asyncio.create_task(second.run("import time\ndef main(): time.sleep(120)"))
        await second.until(lambda: second.load.busy == 1)
        await asyncio.to_thread(until, lambda: counted(space), "status counts sessions and busy")
        await asyncio.to_thread(shrink, space, addresses)
        busy.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await busy
    await asyncio.to_thread(has_used_every_right, space, own)


CHECKED = {"anypod.dev workerpools/finalizers update"}
"""By an admission plugin, for owner references; no call is one of it."""


def has_used_every_right(space: Namespace, own: OperatorProcess) -> None:
    """But for what no log shows: to make a thing by server-side apply is a patch there."""
    lose_service(space, count=1)
    own.kill()
    own.start()
    # A change that it has looked at: now it knows that there is a Service.
    generation = space.apply(replicas=2, drainSeconds=7)["metadata"]["generation"]
    until(lambda: space.pool()["status"]["observedGeneration"] == generation, "it has looked")
    lose_service(space, count=2)
    made = {right for right in rights() if right.endswith(" create")} - {" events create"}
    wanted = rights() - made - CHECKED
    until(
        lambda: wanted <= space.api.rights_used("operator"),
        lambda: f"not used: {wanted - space.api.rights_used('operator')}",
    )


def lose_service(space: Namespace, count: int) -> None:
    """Returns when an event has told of it so often."""
    space.api.delete(space.child_path("Service"))
    until(
        lambda: [one["count"] for one in space.events("Restored")] == [count],
        lambda: f"{count} times restored: {space.events('Restored')}",
    )


def rights() -> set[str]:
    return {
        f"{group} {resource} {verb}"
        for rule in RULES
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def begin(space: Namespace, own: OperatorProcess, addresses: list[str]) -> None:
    own.start()
    space.apply(replicas=4)
    space.make_ready(space.until_pods(4), addresses)
    space.until_condition("Ready", "True")


def counted(space: Namespace) -> bool:
    status = space.pool()["status"]
    return bool((status["busy"], status["sessions"]) == (1, 1))


def shrink(space: Namespace, addresses: list[str]) -> None:
    assert set(costs(space).values()) == {""}, "nothing is written before a scale-in"
    space.apply(replicas=2)

    def left() -> list[Raw] | None:
        pods = space.pods()
        return pods if len(pods) == 2 else None

    until(left, "two workers are left")
    assert set(costs(space)) == set(addresses[:2])
    assert int(costs(space)[addresses[0]]) > int(costs(space)[addresses[1]]) > 0
    until(lambda: space.events("ScaledIn"), "an event says so")
