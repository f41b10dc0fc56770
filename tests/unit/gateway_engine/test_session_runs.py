"""A session's state and epoch between a worker and the store, when either says something odd."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.engine import LMS, Gateway, Site, gateway, site, until
from tests.support.scripted_worker import ScriptedWorker, load, scripted_worker

from anypod.api.problems import AnyPodError
from anypod.store.kv import StoreUnavailable
from anypod.wire.messages import (
    Cancel,
    EndSession,
    Execute,
    Failure,
    NeedState,
    Result,
    SessionState,
    Usage,
    Verdict,
)
from anypod_gateway import session_runs, sessions
from anypod_gateway.executions import ExecutionAnswer

SOURCE = "def main(): ..."


@dataclass
class Scene:
    site: Site
    gateway: Gateway
    workers: dict[str, ScriptedWorker]

    def start(self, **how: Any) -> "asyncio.Task[ExecutionAnswer]":
        return asyncio.create_task(self.gateway.run(SOURCE, session="s", **how))

    async def who_got_it(self) -> tuple[ScriptedWorker, Execute]:
        await until(lambda: any(_executes(worker) for worker in self.workers.values()))
        (worker,) = [worker for worker in self.workers.values() if _executes(worker)]
        return worker, await worker.next(Execute)

    async def epoch(self) -> int:
        pin = await self.gateway.pool.sessions.get("s")
        assert pin is not None
        return pin.epoch

    async def state(self) -> bytes:
        found = await self.gateway.pool.sessions.state("s")
        assert found is not None
        return bytes(found.state)

    async def begin(self, **how: Any) -> tuple["asyncio.Task[ExecutionAnswer]", Any, Any, Any]:
        """A call that has its state, as a worker runs it: task, worker, message, state."""
        task = self.start(**how)
        worker, execute = await self.who_got_it()
        await worker.send(NeedState(execute.id, "s", execute.session.epoch))  # type: ignore[union-attr]
        return task, worker, execute, await worker.next(SessionState)


def _executes(worker: ScriptedWorker) -> bool:
    return any(isinstance(message, Execute) for message in worker.received)


@asynccontextmanager
async def scene(directory: Path, *names: str, **spec: Any) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(site(directory, **spec))
        played = {}
        for name in names or ("w1",):
            played[name] = await stack.enter_async_context(scripted_worker(name))
            await place.add(played[name])
        front = await stack.enter_async_context(gateway(place))
        await front.sees(*played)
        yield Scene(place, front, played)


async def failure_of(task: "asyncio.Task[Any]") -> AnyPodError:
    with pytest.raises(AnyPodError) as caught:
        await asyncio.wait_for(task, 20)
    return caught.value


async def test_a_state_is_committed_before_its_answer_leaves(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        task, worker, execute, state = await it.begin()
        assert state.state == b"{}"
        await worker.answer(execute, b"1", state=b'{"n": 1}', base=state.version)
        verdict = await worker.next(Verdict)
        assert verdict.committed
        assert (verdict.session, verdict.epoch) == ("s", execute.session.epoch)
        assert verdict.version > state.version
        assert (await task).outputs == b"1"
        assert await it.state() == b'{"n": 1}'


async def test_a_state_that_began_from_another_one_is_refused(tmp_path: Path) -> None:
    async with scene(tmp_path, lms=LMS) as it:
        task, worker, execute, state = await it.begin()
        used = Usage("fast", 1)
        await worker.answer(execute, state=b'{"n": 1}', base=state.version - 1, usage=used)
        assert not (await worker.next(Verdict)).committed
        conflict = await failure_of(task)
        assert (conflict.status, conflict.type) == (409, "session-state-conflict")
        assert conflict.problem.execution == execute.id
        assert await it.state() == b"{}"
        assert it.gateway.heard.usage == [used]


async def test_a_state_is_committed_though_its_caller_has_left(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        task, worker, execute, state = await it.begin()
        task.cancel()
        await worker.next(Cancel)
        await worker.answer(execute, state=b'{"n": 1}', base=state.version)  # it was done already
        assert (await worker.next(Verdict)).committed
        assert await it.state() == b'{"n": 1}'
        await until(it.gateway.nothing_is_left)


@pytest.mark.parametrize(
    ("state", "type_"), [(b"x" * 10, "internal-error"), (b'"' + b"x" * 2**21 + b'"', "too-large")]
)
async def test_a_state_that_the_store_does_not_take_is_refused(
    tmp_path: Path, state: bytes, type_: str
) -> None:
    async with scene(tmp_path) as it:
        task, worker, execute, given = await it.begin()
        await worker.answer(execute, state=state, base=given.version)
        assert not (await worker.next(Verdict)).committed
        assert (await failure_of(task)).type == type_


async def test_a_store_that_is_away_at_the_commit_is_told_and_the_worker_drops_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> int:
        raise StoreUnavailable("gone")

    async with scene(tmp_path) as it:
        task, worker, execute, state = await it.begin()
        monkeypatch.setattr(it.gateway.pool.sessions, "write_state", away)
        await worker.answer(execute, state=b"{}", base=state.version)
        assert not (await worker.next(Verdict)).committed
        failure = await failure_of(task)
        assert failure.type == "store-unavailable"
        assert "not known" in failure.problem.detail


async def test_a_worker_that_calls_the_epoch_stale_is_heard_and_the_store_decides(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, "w1", "w2") as it:
        task = it.start()
        worker, execute = await it.who_got_it()
        other = next(each for each in it.workers.values() if each is not worker)
        pin = await it.gateway.pool.sessions.get("s")
        assert pin is not None
        await it.gateway.pool.sessions.repin(pin, other.name, other.instance)
        await worker.refuse(execute, "stale-epoch")
        moved = await other.next(Execute)
        assert moved.id == execute.id
        assert moved.session.epoch == pin.epoch + 1
        assert moved.attempt == 1
        assert (await worker.next(EndSession)).epoch == pin.epoch
        await other.answer(moved)
        assert (await task).info.worker == other.name


async def test_endless_claims_of_a_stale_epoch_end(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        task = it.start()
        for _ in range(session_runs.MAX_STALE + 1):
            worker, execute = await it.who_got_it()
            await worker.refuse(execute, "stale-epoch")
        assert (await failure_of(task)).type == "session-state-conflict"


async def test_a_session_that_ends_while_calls_wait_for_it_is_not_made_anew_by_them(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as it:
        running, worker, execute, _ = await it.begin()
        waiting = it.start()
        queued = await worker.next(Execute)
        await it.gateway.pool.sessions.end("s")
        await worker.next(EndSession)
        await worker.refuse(queued, "stale-epoch")
        ended = Failure("session-not-found", "the session was ended")
        await worker.send(Result(execute.id, 0.1, failure=ended))
        assert (await failure_of(waiting)).type == "session-not-found"
        assert (await failure_of(running)).type == "session-not-found"
        assert await it.gateway.pool.sessions.get("s") is None


async def test_a_call_whose_session_moved_is_not_told_that_it_ended(tmp_path: Path) -> None:
    async with scene(tmp_path, "w1", "w2") as it:
        task, worker, execute, _ = await it.begin()
        other = next(each for each in it.workers.values() if each is not worker)
        pin = await it.gateway.pool.sessions.get("s")
        assert pin is not None
        await it.gateway.pool.sessions.repin(pin, other.name, other.instance)
        ended = Failure("session-not-found", "the session was ended")
        await worker.send(Result(execute.id, 0.1, failure=ended))
        assert (await failure_of(task)).type == "session-state-conflict"


async def test_a_worker_without_room_gets_no_session_and_another_one_does(tmp_path: Path) -> None:
    async with scene(tmp_path, "w1", "w2") as it:
        task = it.start()
        first, execute = await it.who_got_it()
        await first.refuse(execute, "sessions-full")
        second, again = await it.who_got_it()
        assert second is not first
        assert again.session.epoch == execute.session.epoch + 1  # type: ignore[union-attr]
        await second.answer(again)
        await task


async def test_a_pool_full_of_sessions_says_so(tmp_path: Path) -> None:
    async with scene(tmp_path, queue={"maxWaitSeconds": 0.2}) as it:
        await it.workers["w1"].send(load(sessions=8))
        await until(lambda: it.gateway.pool.workers()[0].sessions == 8)
        full = await failure_of(it.start())
        assert full.type == "no-worker"
        assert "room for another session" in full.problem.detail
        waiting = asyncio.create_task(it.gateway.run(SOURCE))  # others go on
        await it.workers["w1"].answer(await it.workers["w1"].next(Execute))
        await waiting


@pytest.mark.parametrize(
    ("reason", "status", "type_"),
    [("session-busy", 409, "session-busy"), ("session-queue-full", 429, "queue-full")],
)
async def test_a_worker_that_cannot_queue_a_call_ends_it(
    tmp_path: Path, reason: str, status: int, type_: str
) -> None:
    async with scene(tmp_path) as it:
        task = it.start()
        worker, execute = await it.who_got_it()
        await worker.refuse(execute, reason)
        refused = await failure_of(task)
        assert (refused.status, refused.type) == (status, type_)
        assert refused.problem.session == "s"


async def test_a_state_that_moved_while_the_worker_asked_for_it_is_not_given(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, "w1", "w2") as it:
        task = it.start()
        worker, execute = await it.who_got_it()
        other = next(each for each in it.workers.values() if each is not worker)
        pin = await it.gateway.pool.sessions.get("s")
        assert pin is not None
        await it.gateway.pool.sessions.repin(pin, other.name, other.instance)
        await worker.send(NeedState(execute.id, "s", pin.epoch))
        cancel = await worker.next(Cancel)
        assert cancel.id == execute.id
        cancelled = Failure("deadline-exceeded", "the execution was cancelled")
        await worker.send(Result(execute.id, 0.0, failure=cancelled))
        moved = await other.next(Execute)
        await other.answer(moved)
        assert (await task).info.attempt == 1


async def test_what_waits_for_its_state_has_not_started_when_its_worker_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, held = asyncio.Event(), asyncio.Event()
    async with scene(tmp_path, "w1", "w2") as it:
        state = it.gateway.pool.sessions.state

        async def slow(key: str) -> Any:
            asked.set()
            await held.wait()
            return await state(key)

        monkeypatch.setattr(it.gateway.pool.sessions, "state", slow)
        task = it.start()
        first, execute = await it.who_got_it()
        await first.send(NeedState(execute.id, "s", execute.session.epoch))  # type: ignore[union-attr]
        await asked.wait()
        await it.site.forget(first.name)
        await until(lambda: len(it.gateway.pool.workers()) == 1)
        first.drop()
        second, again = await it.who_got_it()
        held.set()
        assert second is not first
        assert again.attempt == 1
        await second.answer(again)
        await task


async def test_an_end_is_told_to_a_worker_that_was_cut_off_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as it:
        task, worker, execute, _ = await it.begin()
        await worker.answer(execute)
        await task
        epoch = await it.epoch()
        worker.speaks = False
        worker.drop()
        await it.gateway.sees()
        await it.gateway.pool.sessions.end("s")
        assert not any(isinstance(message, EndSession) for message in worker.received)
        await worker.until(lambda: len(worker.handshakes) >= 2)
        await worker.send(worker.hello(), load())
        end = await worker.next(EndSession)
        assert (end.session, end.epoch) == ("s", epoch)


async def test_a_session_waits_a_moment_for_a_worker_whose_link_is_down(tmp_path: Path) -> None:
    async with scene(tmp_path, "w1", "w2") as it:
        task, worker, execute, _ = await it.begin()
        await worker.answer(execute)
        await task
        epoch = await it.epoch()
        worker.drop()
        await until(lambda: worker.name not in it.gateway.ready())
        task = it.start()
        again = await worker.next(Execute)
        assert again.session.epoch == epoch
        await worker.answer(again)
        assert (await task).info.worker == worker.name


async def test_a_session_moves_when_the_link_stays_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "CHANCE_SECONDS", 0.3)
    async with scene(tmp_path, "w1", "w2") as it:
        task, worker, execute, _ = await it.begin()
        await worker.answer(execute)
        await task
        worker.speaks = False  # it takes connections, and says nothing
        worker.drop()
        await until(lambda: worker.name not in it.gateway.ready())
        task = it.start()
        other, again = await it.who_got_it()
        assert other is not worker
        await other.answer(again)
        await task


async def test_calls_of_one_session_reach_their_worker_in_order_also_after_a_loss(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, "w1", "w2") as it:
        calls = []
        for number in range(5):
            calls.append(it.start(inputs={"n": number}, idempotent=True))
            await asyncio.sleep(0)
        await until(lambda: sum(len(w.received) for w in it.workers.values()) == 5)
        worker = next(w for w in it.workers.values() if w.received)
        other = next(w for w in it.workers.values() if w is not worker)
        await it.site.forget(worker.name)
        await until(lambda: len(it.gateway.pool.workers()) == 1)
        worker.drop()
        later = it.start(inputs={"n": 5})
        order = []
        for _ in range(6):
            execute = await other.next(Execute)
            order.append(execute.inputs)
            await other.answer(execute)
        assert order == [b'{"n": %d}' % number for number in range(6)]
        await asyncio.gather(*calls, later)


async def test_a_session_can_be_opened_before_its_first_call(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.gateway.pool.open_session("s")
        epoch = await it.epoch()
        await it.gateway.pool.open_session("s")
        assert await it.epoch() == epoch
        task = it.start()
        worker, execute = await it.who_got_it()
        assert execute.session.epoch == epoch  # type: ignore[union-attr]
        await worker.answer(execute)
        await task


async def test_a_call_whose_time_is_over_while_it_looks_for_its_worker_is_told(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as it:
        task, worker, execute, _ = await it.begin()
        await worker.answer(execute)
        await task
        await it.site.add(worker, ready=False)
        await it.gateway.sees()
        late = await failure_of(it.start(seconds=0.1))
        assert late.type == "deadline-exceeded"
        assert late.problem.session == "s"
        with contextlib.suppress(AnyPodError):
            await it.start(seconds=0.1)
        assert it.gateway.nothing_is_left()
