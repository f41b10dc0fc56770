"""Jobs and calls share a pool: calls go first, jobs come to an end, and both are bounded."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.jobs import NOTE, WHILE, accepted, ended, job, submit, wrote
from tests.support.rig import Rig, pool_of, rig

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEPTH = 12


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """Four executors, of which jobs may have two."""
    pool = pool_of(executors=4, jobs={"depth": DEPTH})
    async with rig(tmp_path_factory.mktemp("queue"), pool=pool, gateways=2) as made:
        await made.gateway.create(WHILE, "while")
        await made.gateway.create(NOTE, "note")
        yield made


async def test_a_full_queue_of_jobs_stops_no_call(small: Rig, file: Path) -> None:
    ids = [
        await accepted(small.gateways[n % 2], "while", file=str(file), name=f"{n}")
        for n in range(DEPTH)
    ]
    for gateway in small.gateways:
        async with asyncio.timeout(60):  # each gateway knows of all of them in a moment
            while (more := await submit(gateway, "while", file=str(file))).status == 202:
                await gateway.ask("POST", f"/jobs/{more.document['id']}/cancel")
        assert (more.status, more.document["type"]) == (429, "queue-full")
        assert int(more.headers["Retry-After"]) > 0
    await wrote(file, "begun", 2)
    calls = [
        small.gateways[n % 2].run("note", file=f"{file}.calls", name=f"{n}", seconds=0.01)
        for n in range(40)
    ]
    answers = await asyncio.gather(*calls)
    assert [answer.outputs for answer in answers] == [f"ran {n}" for n in range(40)]
    # Half of the executors are the calls', so no third job has begun meanwhile.
    assert file.read_text().count("begun") == 2
    metrics = (await small.gateway.ask("GET", "//metrics")).body.decode()
    assert 'anypod_jobs{pool="default",state="running"} 2.0' in metrics
    assert f'anypod_jobs{{pool="default",state="queued"}} {DEPTH - 2}.0' in metrics
    Path(f"{file}.go").touch()
    for id_ in ids:
        assert (await ended(small.gateway, id_))["state"] == "succeeded"


async def test_under_calls_without_an_end_jobs_come_to_theirs(small: Rig, file: Path) -> None:
    stop = asyncio.Event()

    async def call_on(number: int) -> int:
        answered = 0
        while not stop.is_set():
            answer = await small.gateways[number % 2].run(
                "note", file=f"{file}.calls", seconds=0.02
            )
            assert answer.status == 200
            answered += 1
        return answered

    callers = [asyncio.create_task(call_on(number)) for number in range(16)]
    try:
        for name in ("a", "b", "c"):
            id_ = await accepted(small.gateway, "note", file=str(file), name=name)
            assert (await ended(small.gateway, id_))["state"] == "succeeded"
    finally:
        stop.set()
    assert all(await asyncio.gather(*callers))


async def test_the_higher_priority_goes_first(small: Rig, file: Path) -> None:
    """Where one place becomes free after another: what is claimed for two begins at once."""
    gateway, beside = small.gateway, f"{file}.beside"
    first = await accepted(gateway, "while", file=str(file), name="first")
    holds = await accepted(gateway, "while", file=beside, name="holds")
    await wrote(file, "begun first")
    await wrote(Path(beside), "begun holds")
    order = [("low", -5), ("middle", 0), ("high", 5), ("middle", 0)]
    others = [
        await accepted(gateway, "note", f"?priority={priority}", file=str(file), name=name)
        for name, priority in order
    ]
    Path(f"{file}.go").touch()
    began = [(await ended(gateway, id_))["startedAt"] for id_ in (first, *others)]
    Path(f"{beside}.go").touch()
    assert (await ended(gateway, holds))["state"] == "succeeded"
    before, low, middle, high, second = began
    assert before < high < middle < second < low


async def test_a_job_whose_worker_dies_is_lost_or_run_again(tmp_path: Path, file: Path) -> None:
    """By itself, for the worker is the only one."""
    async with rig(tmp_path, pool=pool_of(executors=4), impatient=True) as made:
        gateway = made.gateway
        await gateway.create(WHILE, "while")
        await gateway.create(WHILE + "# again", "while-again", idempotent=True)
        lost = await accepted(gateway, "while", file=str(file), name="lost")
        again = await accepted(gateway, "while-again", file=str(file), name="again")
        await wrote(file, "begun", 2)
        made.workers.pop("w1").process.kill()
        found = await ended(gateway, lost)
        assert (found["state"], found["problem"]["type"]) == ("lost", "worker-lost")
        result = await gateway.ask("GET", f"/jobs/{lost}/result")
        assert (result.status, result.document["type"]) == (502, "worker-lost")
        await made.add_worker("w2")
        Path(f"{file}.go").touch()
        await made.tell()
        found = await ended(gateway, again)
        assert (found["state"], found["attempts"]) == ("succeeded", 2)
        assert (await job(gateway, again))["worker"] == "w2"
        assert file.read_text().count("begun lost") == 1


async def test_jobs_that_wait_for_another_attempt_hold_nobody_up(small: Rig, file: Path) -> None:
    """There are more of them than slots, and they were first."""
    gateway = small.gateway
    await gateway.create(NOTE + "# fails", "fails", idempotent=True)
    failing = [
        await accepted(
            gateway, "fails", "?maxAttempts=10", file=f"{file}.{n}", fail_first=99, name="it"
        )
        for n in range(4)
    ]
    others = [await accepted(gateway, "note", file=str(file), name=f"{n}") for n in range(8)]
    for id_ in others:
        assert (await ended(gateway, id_))["state"] == "succeeded"
    for n, id_ in enumerate(failing):
        await wrote(Path(f"{file}.{n}"), "begun", 2)  # attempts go on meanwhile
        waits = await job(small.gateways[n % 2], id_)
        assert waits["attempts"] < 10, "the others had to wait for it"
        answer = await gateway.ask("POST", f"/jobs/{id_}/cancel")
        assert answer.status in (200, 202)
        found = await ended(gateway, id_)
        assert (found["state"], found["finishedAt"] is None) == ("cancelled", False)


async def test_a_session_waits_for_the_next_attempt_of_its_first_job(
    small: Rig, file: Path
) -> None:
    gateway, session = small.gateway, {"X-Session-ID": "waits"}
    await gateway.create(NOTE + "# fails", "fails", idempotent=True)
    first = await accepted(
        gateway, "fails", headers=session, file=str(file), name="one", fail_first=1
    )
    second = await accepted(gateway, "note", headers=session, file=str(file), name="two")
    assert (await ended(gateway, second))["state"] == "succeeded"
    assert (await ended(gateway, first))["attempts"] == 2
    begun = ["begun one", "begun one", "done one", "begun two", "done two"]
    assert file.read_text().splitlines() == begun
