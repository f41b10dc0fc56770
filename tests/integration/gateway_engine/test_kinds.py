"""Workers of two images, of which only one can run a kind of programs: each call finds its own."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.engine import Gateway, Site, gateway, manifest, request, site, until
from tests.support.lm_server import LmServer, lm_server
from tests.support.scripted_worker import ScriptedWorker, load, scripted_worker
from tests.support.worker import revision_of

from anypod.api.problems import AnyPodError
from anypod.dspy import spec
from anypod.wire.messages import Code, Execute
from anypod_gateway.pools import Pool

BOTH = {"kinds": ("python", "dspy")}
PYTHON = "def main(): pass\n"
HIDES_DSPY = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "dspy":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def asks() -> Code:
    signature = spec.Signature([spec.Field("question")], [spec.Field("answer")])
    document = spec.Spec(signature, spec.Module("Predict"))
    return Code("dspy", {spec.FILE: spec.encode(document)}, "Predict")


def call(front: Gateway, kind: str, **how: Any) -> "asyncio.Task[Any]":
    return asyncio.create_task(front.pool.runner.run(request(asks(), kind=kind, **how)))


@pytest.fixture
def lm() -> Iterator[LmServer]:
    with lm_server() as lm:
        yield lm


async def start_without_dspy(place: Site, directory: Path) -> None:
    """A worker of an image that has none."""
    (directory / "sitecustomize.py").write_text(HIDES_DSPY)
    whole = place.manifest
    hidden = [{"name": "PYTHONPATH", "value": str(directory)}]
    place.manifest = manifest(executors=2, env=hidden)
    await place.start("old")
    place.manifest = whole
    await place.write()


@contextlib.asynccontextmanager
async def playing(place: Site, *names: str, **hello: Any) -> AsyncIterator[list[ScriptedWorker]]:
    async with contextlib.AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(scripted_worker(name, **hello)) for name in names
        ]
        for worker in workers:
            await place.add(worker)
        yield workers


async def test_calls_find_the_workers_that_know_them(tmp_path: Path, lm: LmServer) -> None:
    lms = [{"name": "fast", "model": "hosted_vllm/fast", "apiBase": lm.url}]
    async with site(tmp_path, lms=lms, executors=2) as place, gateway(place) as front:
        await start_without_dspy(place, tmp_path)
        await place.start("new")
        await front.sees("old", "new")
        for concurrency in (1, 8):
            calls = [
                front.run(asks(), {"question": "?"}, kind="dspy", concurrency=concurrency)
                for _ in range(12)
            ]
            answers = await asyncio.gather(*calls, *(front.run(PYTHON) for _ in range(12)))
            asked, plain = answers[:12], answers[12:]
            assert {json.loads(answer.outputs)["answer"] for answer in asked} == {"42"}
            assert {answer.info.worker for answer in asked} == {"new"}
            assert {answer.info.worker for answer in plain} >= {"old"}
        deadline = asyncio.get_running_loop().time() + 60
        for _ in range(4):
            found = await front.pool.runner.check(revision_of(asks()), asks(), deadline)
            assert found.failure is None
        await until(front.nothing_is_left)


async def test_where_no_worker_knows_it_the_caller_is_told_at_once(tmp_path: Path) -> None:
    async with site(tmp_path) as place, gateway(place) as front:
        await start_without_dspy(place, tmp_path)
        await front.sees("old")
        with pytest.raises(AnyPodError, match="use an image that has dspy") as caught:
            await front.run(asks(), kind="dspy")
        assert (caught.value.status, caught.value.type) == (503, "no-worker")
        assert caught.value.problem.retry_after
        deadline = asyncio.get_running_loop().time() + 60
        with pytest.raises(AnyPodError, match="use an image that has dspy") as caught:
            await front.pool.runner.check(revision_of(asks()), asks(), deadline)
        assert (caught.value.status, caught.value.type) == (422, "invalid-program")
        assert caught.value.problem.path == "kind"
        assert front.nothing_is_left()


async def test_a_call_waits_for_a_worker_of_which_nothing_is_known_yet(tmp_path: Path) -> None:
    async with (
        site(tmp_path) as place,
        gateway(place) as front,
        playing(place, "old"),
        scripted_worker("new", **BOTH) as new,
    ):
        await front.sees("old")
        await place.add(new, ready=False)
        await until(lambda: len(front.pool.workers()) == 2)
        waiting = call(front, "dspy")
        await until(lambda: front.pool.queued() == 1)
        await place.publish("new", ready=True)
        await new.answer(await new.next(Execute))
        assert (await waiting).info.worker == "new"


async def test_who_waits_for_a_worker_that_knows_it_keeps_nobody_else_waiting(
    tmp_path: Path,
) -> None:
    async with (
        site(tmp_path) as place,
        gateway(place) as front,
        playing(place, "old", executors=1) as [old],
        playing(place, "new", executors=1, **BOTH) as [new],
    ):
        await front.sees("old", "new")
        running = call(front, "dspy")
        first = await new.next(Execute)
        waiting = call(front, "dspy")
        await until(lambda: front.pool.queued() == 1)
        plain = call(front, "python")
        await old.answer(await old.next(Execute))
        assert (await plain).info.worker == "old"
        assert front.pool.queued() == 1
        await new.answer(first)
        await running
        await new.answer(await new.next(Execute))
        await waiting


async def test_a_queue_that_is_full_of_one_kind_refuses_no_other(tmp_path: Path) -> None:
    async with (
        site(tmp_path, queue={"depth": 1}) as place,
        gateway(place) as front,
        playing(place, "old", executors=1) as [old],
        playing(place, "new", executors=1, **BOTH) as [new],
    ):
        await front.sees("old", "new")
        asking = [call(front, "dspy")]
        first = await new.next(Execute)
        asking.append(call(front, "dspy"))
        await until(lambda: front.pool.queued() == 1)
        plain = [call(front, "python")]
        running = await old.next(Execute)
        plain.append(call(front, "python"))
        await until(lambda: front.pool.queued() == 2)
        for kind in ("dspy", "python"):
            with pytest.raises(AnyPodError, match="1 calls wait already") as caught:
                await call(front, kind)
            assert caught.value.type == "queue-full"
        await old.answer(running)
        await old.answer(await old.next(Execute))
        await new.answer(first)
        await new.answer(await new.next(Execute))
        assert {(await one).info.worker for one in asking} == {"new"}
        assert {(await one).info.worker for one in plain} == {"old"}
        await until(front.nothing_is_left)


KEEPS = """
memory = []
def main(session, value=None):
    if value is not None:
        session.state["value"] = value
        memory.append(value)
    return [session.state["value"], memory]
"""


async def test_a_session_moves_with_its_state_to_where_its_program_can_be_run(
    tmp_path: Path, lm: LmServer
) -> None:
    lms = [{"name": "fast", "model": "hosted_vllm/fast", "apiBase": lm.url}]
    async with site(tmp_path, lms=lms, executors=2) as place, gateway(place) as front:
        await start_without_dspy(place, tmp_path)
        await front.sees("old")
        assert await front.outputs(KEEPS, {"value": 7}, session="s") == [7, [7]]
        with pytest.raises(AnyPodError, match="use an image that has dspy") as caught:
            await front.run(asks(), {"question": "?"}, kind="dspy", session="s")
        assert caught.value.type == "no-worker"
        assert await front.outputs(KEEPS, session="s") == [7, [7]]
        await place.start("new")
        await front.sees("old", "new")
        for session in ("s", "begun-by-it"):
            answer = await front.run(asks(), {"question": "?"}, kind="dspy", session=session)
            assert answer.info.worker == "new"
        assert await front.outputs(KEEPS, session="s") == [7, []]


async def test_a_session_that_must_not_lose_its_memory_stays_where_it_is(tmp_path: Path) -> None:
    async with (
        site(tmp_path, sessions={"onWorkerLoss": "fail"}) as place,
        gateway(place) as front,
        playing(place, "old") as [old],
    ):
        await front.sees("old")
        running = call(front, "python", session="s")
        await old.answer(await old.next(Execute))
        await running
        async with playing(place, "new", **BOTH):
            await front.sees("old", "new")
            with pytest.raises(AnyPodError, match=r"on worker old, .*onWorkerLoss") as caught:
                await call(front, "dspy", session="s")
            assert caught.value.type == "no-worker"
            running = call(front, "python", session="s")
            await old.answer(await old.next(Execute))
            assert (await running).info.worker == "old"


async def test_sessions_are_where_all_can_be_run(tmp_path: Path) -> None:
    async with (
        site(tmp_path) as place,
        gateway(place) as front,
        playing(place, "old"),
        playing(place, "new", **BOTH) as [new],
    ):
        await front.sees("old", "new")
        for number in range(4):
            running = call(front, "python", session=f"s{number}")
            await new.answer(await new.next(Execute))
            assert (await running).info.worker == "new"


async def test_once_all_know_all_calls_go_anywhere(tmp_path: Path) -> None:
    async with (
        site(tmp_path) as place,
        gateway(place) as front,
        playing(place, "w1", "w2", executors=1, **BOTH) as workers,
    ):
        await front.sees("w1", "w2")
        pool: Pool = front.pool
        assert pool.roster.all_know("dspy")
        running = [call(front, "dspy") for _ in workers]
        for worker in workers:
            await worker.answer(await worker.next(Execute))
        await asyncio.gather(*running)
        await workers[0].send(load(ready=False))
        await front.sees("w2")
        assert pool.roster.all_know("dspy")
