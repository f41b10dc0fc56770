"""The four ways in which the predecessor of AnyPod failed, each under load, on real processes.

Eight workers and two gateways over one store; once with etcd, once with SQLite. The second is met
by the same calls as the first, of which one in five kills its process:

1. "Program not found" when another worker got the call than the one that had the program.
2. Workers that died of a program's failure, and even after a success.
3. Workers that started one after another.
4. Requests that reached workers which were not ready.
"""

import asyncio
import itertools
import json
import random
import textwrap
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.killers import ALL, CHEAP, COSTLY, HARMLESS, SIGNAL_OTHERS
from tests.support.local import local_pool
from tests.support.stack import Stack
from tests.support.workload import Besides, Gateways, Tally, stress

WORKERS = 8
CLIENTS = 64
OPERATIONS = 5000
LIMITS = {"memory": "512Mi", "interruptGraceSeconds": 0.2}
"""A program that does not end is killed soon."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(params=["etcd", "sqlite"])
async def stack(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stack]:
    async with Stack(
        tmp_path, store=request.param, workers=WORKERS, executors=2, limits=LIMITS
    ) as running:
        await running.ready()
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=90)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield session


def gateways_of(stack: Stack, http: aiohttp.ClientSession) -> Gateways:
    return Gateways(http, list(stack.urls), stack.pool)


async def create(gateways: Gateways, source: str, *, idempotent: bool = False) -> str:
    status, document = await gateways.call(
        "POST",
        "/programs",
        {"kind": "python", "source": textwrap.dedent(source), "idempotent": idempotent},
    )
    assert status == 201, document
    return str(document["id"])


# 1, and 2

COSTLY_EVERY = 100


class Killers:
    """Calls of programs that misbehave, one after another of the list, and what came of each."""

    def __init__(self, gateways: Gateways) -> None:
        self.wrong: list[Any] = []
        self.outcomes: Counter[str] = Counter()
        """By name."""
        self._gateways = gateways
        self._programs: dict[str, str] = {}
        self._costly = itertools.cycle(COSTLY)
        self._number = 0

    async def create(self, *, signals_confined: bool) -> None:
        for name, killer in ALL.items():
            self._programs[name] = await create(self._gateways, killer.source)
        harmless = [name for name in CHEAP if signals_confined or name not in SIGNAL_OTHERS]
        self._cheap = itertools.cycle(harmless)

    async def kill(self) -> None:
        self._number += 1
        costly = self._number % COSTLY_EVERY == COSTLY_EVERY // 2
        name = next(self._costly if costly else self._cheap)
        killer = ALL[name]
        status, document = await self._gateways.call(
            "POST",
            f"/programs/{self._programs[name]}/run",
            {"inputs": {}, "timeoutSeconds": killer.seconds},
        )
        self.outcomes[name] += 1
        if (HARMLESS if status == 200 else document["type"]) not in killer.told:
            self.wrong.append((name, status, document))


async def test_any_worker_runs_what_was_just_changed_though_one_call_in_five_kills_its_process(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    """Created, changed or deleted; beside it every way to misbehave, which harms no other call."""
    gateways = gateways_of(stack, http)
    before = await stack.instances()
    killers = Killers(gateways)
    await killers.create(signals_confined=stack.signals_confined)

    tally = await stress(
        gateways,
        clients=CLIENTS,
        operations=OPERATIONS * 4 // 5,
        besides=Besides(every_fifth=killers.kill),
    )

    assert tally.operations + killers.outcomes.total() >= OPERATIONS - CLIENTS
    assert (tally.wrong, tally.unavailable, tally.broken) == ([], 0, 0)
    assert set(tally.workers) == {name for name, _ in before}
    assert killers.wrong == []
    assert killers.outcomes.total() >= OPERATIONS // 5 - CLIENTS
    assert min(killers.outcomes[name] for name in COSTLY) >= 2
    assert await stack.instances() == before, "a worker was lost"
    assert await stack.all_ready()


RECORDING = """
    import os, time

    def main(call: str, log: str) -> str:
        out = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.write(out, f"start {call}\\n".encode())
        time.sleep(0.02)
        os.write(out, f"end {call}\\n".encode())
        os.close(out)
        return call
"""


class Recorder:
    """Calls programs that write down each start and end, and keeps what each call came to."""

    def __init__(self, gateways: Gateways, log: Path) -> None:
        log.touch()
        self._gateways = gateways
        self._log = log
        self._number = 0
        self.outcomes: dict[str, tuple[str, str]] = {}
        """By call: ``ok``, a problem's type or ``gateway-lost``; and the worker if known."""

    async def call(self, program: str, url: str) -> None:
        self._number += 1
        name = f"c{self._number}"
        try:
            status, document = await self._gateways.call(
                "POST",
                f"/programs/{program}/run",
                {"inputs": {"call": name, "log": str(self._log)}},
                url=url,
            )
        except aiohttp.ClientError:
            self.outcomes[name] = ("gateway-lost", "")
            return
        if status == 200:
            self.outcomes[name] = ("ok", document["execution"]["worker"])
        else:
            self.outcomes[name] = (document["type"], document.get("worker", ""))

    def counts(self, what: str) -> Counter[str]:
        lines = self._log.read_text().splitlines()
        return Counter(line.split()[1] for line in lines if line.startswith(what))

    def of(self, outcome: str) -> set[str]:
        return {name for name, (found, _) in self.outcomes.items() if found == outcome}


async def test_killed_workers_cost_exactly_what_was_in_flight_on_them(
    stack: Stack, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    gateways = gateways_of(stack, http)
    once = Recorder(gateways, tmp_path / "once.log")
    again = Recorder(gateways, tmp_path / "again.log")
    risky = await create(gateways, RECORDING)
    safe = await create(gateways, RECORDING.replace("return call", "return  call"), idempotent=True)
    killed: set[str] = set()
    over = asyncio.Event()

    async def more_calls(count: int) -> None:
        enough = len(once.outcomes) + len(again.outcomes) + count
        while len(once.outcomes) + len(again.outcomes) < enough:
            await asyncio.sleep(0.02)

    async def client(number: int) -> None:
        chosen = random.Random(number)
        while not over.is_set():
            recorder, program = (once, risky) if number % 2 else (again, safe)
            await recorder.call(program, chosen.choice(stack.urls))

    async with asyncio.TaskGroup() as tasks:
        for number in range(24):
            tasks.create_task(client(number))
        goes_on = Besides(goes_on=lambda: not over.is_set())
        authors = tasks.create_task(stress(gateways, clients=24, operations=500, besides=goes_on))
        for _ in range(4):
            await more_calls(100)
            killed.add(await stack.kill_worker())
            await stack.ready()
        over.set()

    tally = authors.result()  # of programs that are idempotent
    assert (tally.wrong, tally.unavailable, tally.broken) == ([], 0, 0)
    assert set(Counter(found for found, _ in again.outcomes.values())) == {"ok"}
    assert {found for found, _ in once.outcomes.values()} <= {"ok", "worker-lost"}
    lost = once.of("worker-lost")
    assert {once.outcomes[name][1] for name in lost} <= killed
    started, ended = once.counts("start"), once.counts("end")
    assert max(started.values()) == 1, "a program that is not idempotent was run twice"
    # What a caller was told equals what happened: every answered call ran to its end, and every
    # call that began and did not end was told to its caller as lost.
    assert once.of("ok") <= set(ended)
    assert set(started) - set(ended) <= lost
    assert set(started) <= once.of("ok") | lost
    # Two executors; and each gateway may have sent as much, of which the worker refuses the rest.
    assert len(lost) <= len(killed) * 2 * len(stack.urls)


async def test_a_killed_gateway_costs_only_its_own_connections(
    stack: Stack, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    gateways = gateways_of(stack, http)
    recorder = Recorder(gateways, tmp_path / "calls.log")
    program = await create(gateways, RECORDING)
    staying, dying = stack.urls
    over = asyncio.Event()

    async def client(url: str) -> None:
        while not over.is_set():
            before = recorder.of("gateway-lost")
            await recorder.call(program, url)
            if recorder.of("gateway-lost") - before and url == dying:
                return

    async def author() -> Tally:
        return await stress(gateways, clients=8, operations=400)

    async with asyncio.TaskGroup() as tasks:
        for number in range(16):
            tasks.create_task(client((staying, dying)[number % 2]))
        authors = tasks.create_task(author())
        await asyncio.sleep(1.0)
        gateways.lost.add(dying)
        await stack.kill_gateway(dying)
        await authors
        over.set()

    assert (authors.result().wrong, authors.result().unavailable) == ([], 0)
    assert {found for found, _ in recorder.outcomes.values()} == {"ok", "gateway-lost"}
    # One call per client of that gateway, and none of the other's.
    assert len(recorder.of("gateway-lost")) == 8
    assert recorder.of("ok") <= set(recorder.counts("end"))
    assert await stack.all_ready()


# 3

MEETS = """
import os, pathlib, time

begun = pathlib.Path(__file__).with_name("begun")
with begun.open("a") as out:
    out.write(f"{os.getpid()}\\n")
until = time.monotonic() + 60
while len(begun.read_text().split()) < WORKERS:
    if time.monotonic() > until:
        raise TimeoutError("the other workers have not begun")
    time.sleep(0.02)
"""
POOL = """
apiVersion: anypod.dev/v1alpha1
kind: WorkerPool
metadata: {name: default}
spec:
  executors: 1
  preload: [meets_others]
  env: [{name: PYTHONPATH, value: "MODULES"}]
"""


def test_eight_workers_start_together(tmp_path: Path) -> None:
    """As ``anypod up`` starts them: none is ready before all import what the pool preloads. It asks
    nothing of the store."""
    (tmp_path / "meets_others.py").write_text(MEETS.replace("WORKERS", str(WORKERS)))
    (tmp_path / "pool.yaml").write_text(POOL.replace("MODULES", str(tmp_path)))
    with local_pool(tmp_path, "-f", "pool.yaml", workers=WORKERS) as pool:
        pool.wait_for("ready after")
        begun = (tmp_path / "begun").read_text().split()
        assert len(begun) == len(set(begun)) == len(pool.workers()) == WORKERS


# 4


@pytest.mark.parametrize("store", ["etcd", "sqlite"])
async def test_calls_before_the_first_worker_is_ready_wait_for_it(
    store: str, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    source = "import time\ndef main(n: int) -> list[float]:\n    return [n, time.time()]\n"
    async with Stack(
        tmp_path,
        store=store,
        workers=WORKERS,
        executors=2,
        preload="tests.support.slow_to_import",
    ) as stack:
        gateways = gateways_of(stack, http)
        await stack.gateways_listen()

        async def call(number: int) -> tuple[int, Any]:
            program = {"kind": "python", "source": source}
            return await gateways.call(
                "POST", "/run", {"program": program, "inputs": {"n": number}}
            )

        results = await asyncio.gather(*(call(number) for number in range(CLIENTS)))
        await stack.ready()
        ready = stack.ready_since()

    assert [status for status, _ in results] == [200] * CLIENTS, json.dumps(results[0])
    for number, (_, document) in enumerate(results):
        told, at = document["outputs"]
        assert told == number
        assert at >= ready[document["execution"]["worker"]], "a worker that was not ready got it"
