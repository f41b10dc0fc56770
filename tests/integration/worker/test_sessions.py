"""A session has an executor of its own; its calls run in order; its state is the store's."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support import process_tree
from tests.support.worker import Gateway, Worker, linked, started_worker, worker_config

from anypod.wire.config import Limits
from anypod.wire.messages import NeedState, SessionRef, Verdict

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = """
import os
calls = 0
def main(session) -> list[int]:
    global calls
    calls += 1
    session.state["calls"] = session.state.get("calls", 0) + 1
    return [os.getpid(), calls, session.state["calls"]]
"""
LOOK = "def main(session): return session.state"
WAIT = """
import pathlib, time
def main(session, end: str):
    while not pathlib.Path(end).exists():
        time.sleep(0.01)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[Worker]:
    config = worker_config(
        max_sessions=4, session_queue=3, limits=Limits(interrupt_grace_seconds=0.5)
    )
    async with started_worker(config) as worker:
        yield worker


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(worker: Worker) -> AsyncIterator[Gateway]:
    """Ends its sessions afterwards."""
    async with linked(worker) as gateway:
        yield gateway
        for key in list(gateway.states):
            await gateway.end_session(key, 1000)
        await gateway.until(lambda: gateway.load.sessions == 0)


def ref(key: str = "s", epoch: int = 1, on_busy: str = "queue") -> SessionRef:
    return SessionRef(key, epoch, on_busy)  # type: ignore[arg-type]


async def test_globals_survive_and_state_is_committed(gateway: Gateway) -> None:
    answers = [await gateway.run(COUNT, session=ref()) for _ in range(3)]
    pids = {answer.outputs[0] for answer in answers}
    assert len(pids) == 1
    assert [answer.outputs[1:] for answer in answers] == [[1, 1], [2, 2], [3, 3]]
    assert [answer.result.base for answer in answers if answer.result] == [1, 2, 3]
    assert gateway.states["s"] == (b'{"calls":3}', 4)


async def test_state_is_asked_for_once(gateway: Gateway) -> None:
    answers = [await gateway.run(COUNT, session=ref()) for _ in range(3)]
    asked = [[type(m) for m in answer.asked if isinstance(m, NeedState)] for answer in answers]
    assert asked == [[NeedState], [], []]


async def test_a_session_goes_on_from_the_stores_state(gateway: Gateway) -> None:
    gateway.states["s"] = (b'{"calls":41}', 7)
    answer = await gateway.run(COUNT, session=ref())
    assert answer.outputs[2] == 42
    assert answer.result is not None
    assert answer.result.base == 7


async def test_state_that_did_not_change_is_not_sent(gateway: Gateway) -> None:
    answer = await gateway.run(LOOK, session=ref())
    assert answer.result is not None
    assert answer.result.state is None


async def test_sessions_do_not_share(gateway: Gateway) -> None:
    one = (await gateway.run(COUNT, session=ref("one"))).outputs
    two = (await gateway.run(COUNT, session=ref("two"))).outputs
    assert one[0] != two[0]
    assert (one[1:], two[1:]) == ([1, 1], [1, 1])


async def test_a_session_has_not_the_shared_executors(worker: Worker, gateway: Gateway) -> None:
    pid = (await gateway.run(COUNT, session=ref())).outputs[0]
    source = "import os\ndef main(): return os.getpid()"
    shared = {(await gateway.run(source)).outputs for _ in range(10)}
    assert pid not in shared
    assert pid in process_tree.named(worker.pid, "anypod-executor")


async def test_calls_run_one_after_another_in_order(gateway: Gateway) -> None:
    source = """
import time
running = 0
def main(session, number: int):
    global running
    assert running == 0
    running = 1
    time.sleep(0.02)
    running = 0
    session.state.setdefault("order", []).append(number)
"""
    begun = [await gateway.begin(source, {"number": number}, session=ref()) for number in range(4)]
    for id_ in begun:
        answer = await gateway.end(id_)
        assert answer.result is not None
        assert answer.result.failure is None, answer.result.failure
        await gateway.decide(ref(), answer.result)
    assert (await gateway.run(LOOK, session=ref())).outputs == {"order": [0, 1, 2, 3]}


async def test_nothing_runs_before_the_verdict(gateway: Gateway) -> None:
    first = await gateway.end(await gateway.begin(COUNT, session=ref()))
    second = await gateway.begin(COUNT, session=ref())
    other = await gateway.run(COUNT, session=ref("other"))
    assert other.outputs[1] == 1
    assert gateway.so_far(second).result is None
    assert first.result is not None
    await gateway.decide(ref(), first.result)
    assert (await gateway.end(second)).outputs[1] == 2


async def test_a_refused_state_costs_the_executor(worker: Worker, gateway: Gateway) -> None:
    pid = (await gateway.run(COUNT, session=ref())).outputs[0]
    gateway.commit = False
    await gateway.run(COUNT, session=ref())
    assert await process_tree.until_gone([pid]) == []
    gateway.commit = True
    again = await gateway.run(COUNT, session=ref(epoch=2))
    assert again.outputs[0] != pid
    assert again.outputs[1:] == [1, 2], "from what was committed, not from what was refused"


async def test_a_failed_calls_state_is_discarded_and_its_globals_stay(gateway: Gateway) -> None:
    await gateway.run(COUNT, session=ref())
    source = COUNT.replace("return [", "raise ValueError([").replace("]]", "]])")
    failed = await gateway.run(source, session=ref())
    assert failed.failure.type == "program-error"
    assert (await gateway.run(LOOK, session=ref())).outputs == {"calls": 1}
    assert (await gateway.run(COUNT, session=ref())).outputs[1:] == [2, 2]


async def test_an_interrupted_call_keeps_the_sessions_globals(gateway: Gateway) -> None:
    pid = (await gateway.run(COUNT, session=ref())).outputs[0]
    slow = "import time\ndef main(session):\n    session.state['x'] = 1\n    time.sleep(60)"
    answer = await gateway.run(slow, session=ref(), timeout=0.3)
    assert answer.failure.type == "deadline-exceeded"
    assert (await gateway.run(COUNT, session=ref())).outputs == [pid, 2, 2]
    assert (await gateway.run(LOOK, session=ref())).outputs == {"calls": 2}


async def test_a_killed_call_asks_for_the_state_again(gateway: Gateway) -> None:
    await gateway.run(COUNT, session=ref())
    died = await gateway.run("import os\ndef main(session): os._exit(1)", session=ref())
    assert died.failure.type == "program-exited"
    after = await gateway.run(COUNT, session=ref())
    assert [type(m) for m in after.asked] == [NeedState]
    assert after.outputs[1:] == [1, 2]


async def test_an_executor_killed_between_calls_asks_again(
    worker: Worker, gateway: Gateway
) -> None:
    pid = (await gateway.run(COUNT, session=ref())).outputs[0]
    os.kill(pid, 9)
    assert await process_tree.until_gone([pid]) == []
    after = await gateway.run(COUNT, session=ref())
    assert after.outputs[1:] == [1, 2]
    assert await worker.is_ready()


async def test_a_call_that_finds_its_executor_dying_asks_again(gateway: Gateway) -> None:
    unfit = (
        "import sys, time\n"
        "from anypod_worker import frames\n"
        "def main(session):\n"
        "    frame = sys._getframe()\n"
        "    while not isinstance(frame.f_locals.get('frame'), frames.Run):\n"
        "        frame = frame.f_back\n"
        "    id, wire = frame.f_locals['frame'].id, frame.f_locals['self']._wire\n"
        "    wire.send(frames.Done(id, 0.0, b'1', unfit='unclean'))\n"
        "    time.sleep(30)\n"
    )
    for number in range(1, 11):
        await gateway.run(unfit, session=ref())
        assert (await gateway.run(COUNT, session=ref())).outputs[1:] == [1, number]


async def test_an_older_epoch_is_refused(gateway: Gateway) -> None:
    await gateway.run(COUNT, session=ref(epoch=3))
    answer = await gateway.run(COUNT, session=ref(epoch=2))
    assert answer.refused is not None
    assert answer.refused.reason == "stale-epoch"


async def test_a_newer_epoch_takes_over(gateway: Gateway) -> None:
    pid = (await gateway.run(COUNT, session=ref(epoch=1))).outputs[0]
    gateway.states["s"] = (b'{"calls":10}', 50)
    answer = await gateway.run(COUNT, session=ref(epoch=2))
    assert answer.outputs[0] != pid
    assert answer.outputs[1:] == [1, 11]
    assert await process_tree.until_gone([pid]) == []


async def test_a_newer_epoch_ends_what_runs(gateway: Gateway, tmp_path: Path) -> None:
    running = await gateway.begin(WAIT, {"end": f"{tmp_path}/never"}, session=ref(epoch=1))
    waiting = await gateway.begin(COUNT, session=ref(epoch=1))
    after = await gateway.run(COUNT, session=ref(epoch=2))
    assert after.outputs[1:] == [1, 1]
    assert (await gateway.end(running)).failure.type == "session-state-conflict"
    refused = (await gateway.end(waiting)).refused
    assert refused is not None
    assert refused.reason == "stale-epoch"


async def test_ending_a_session_frees_its_executor(worker: Worker, gateway: Gateway) -> None:
    pid = (await gateway.run(COUNT, session=ref())).outputs[0]
    await gateway.end_session("s", 1)
    assert await process_tree.until_gone([pid]) == []
    await gateway.until(lambda: gateway.load.sessions == 0)


async def test_the_end_of_an_older_life_is_not_that_of_this_one(gateway: Gateway) -> None:
    pid = (await gateway.run(COUNT, session=ref(epoch=2))).outputs[0]
    await gateway.end_session("s", 1)
    assert (await gateway.run(COUNT, session=ref(epoch=2))).outputs[:2] == [pid, 2]


async def test_ending_a_session_ends_its_call(gateway: Gateway, tmp_path: Path) -> None:
    running = await gateway.begin(WAIT, {"end": f"{tmp_path}/never"}, session=ref())
    await gateway.until(lambda: gateway.load.busy_sessions == 1)
    await gateway.end_session("s", 1)
    assert (await gateway.end(running)).failure.type == "session-not-found"


async def test_a_busy_session_can_refuse(gateway: Gateway, tmp_path: Path) -> None:
    running = await gateway.begin(WAIT, {"end": f"{tmp_path}/end"}, session=ref())
    second = await gateway.run(COUNT, session=ref(on_busy="fail"))
    assert second.refused is not None
    assert second.refused.reason == "session-busy"
    (tmp_path / "end").touch()
    assert (await gateway.end(running)).outputs is None
    assert (await gateway.run(COUNT, session=ref(on_busy="fail"))).outputs[1] == 1


async def test_a_sessions_queue_is_bounded(gateway: Gateway, tmp_path: Path) -> None:
    begun = [await gateway.begin(WAIT, {"end": f"{tmp_path}/end"}, session=ref()) for _ in range(5)]
    refused = (await gateway.end(begun[-1])).refused
    assert refused is not None
    assert refused.reason == "session-queue-full"
    (tmp_path / "end").touch()
    for id_ in begun[:-1]:
        assert (await gateway.end(id_)).outputs is None


async def test_a_queued_call_has_its_deadline_too(gateway: Gateway, tmp_path: Path) -> None:
    running = await gateway.begin(WAIT, {"end": f"{tmp_path}/end"}, session=ref())
    queued = await gateway.run(COUNT, session=ref(), timeout=0.2)
    assert queued.failure.type == "deadline-exceeded"
    (tmp_path / "end").touch()
    assert (await gateway.end(running)).outputs is None
    assert (await gateway.run(COUNT, session=ref())).outputs[1] == 1


async def test_there_are_only_so_many_sessions(gateway: Gateway) -> None:
    for number in range(4):
        assert (await gateway.run(COUNT, session=ref(f"s{number}"))).outputs[1] == 1
    fifth = await gateway.run(COUNT, session=ref("s5"))
    assert fifth.refused is not None
    assert fifth.refused.reason == "sessions-full"
    await gateway.end_session("s0", 1)
    assert (await gateway.run(COUNT, session=ref("s5"))).outputs[1] == 1


async def test_a_gateway_that_owes_a_verdict_and_leaves_costs_the_executor(
    worker: Worker, gateway: Gateway
) -> None:
    async with linked(worker, "g2") as other:
        answer = await other.end(await other.begin(COUNT, session=ref()))
        pid = answer.outputs[0]
        other.break_off()
    assert await process_tree.until_gone([pid]) == []
    after = await gateway.run(COUNT, session=ref())
    assert after.outputs[1] == 1


async def test_two_gateways_take_turns_in_one_session(worker: Worker, gateway: Gateway) -> None:
    async with linked(worker, "g2") as other:
        other.states = gateway.states
        gateways = [gateway, other, gateway, other]
        calls = [(await g.run(COUNT, session=ref())).outputs[1:] for g in gateways]
    assert calls == [[1, 1], [2, 2], [3, 3], [4, 4]]


async def test_a_verdict_on_another_life_changes_nothing(gateway: Gateway) -> None:
    answer = await gateway.end(await gateway.begin(COUNT, session=ref(epoch=2)))
    waiting = await gateway.begin(COUNT, session=ref(epoch=2))
    await gateway.send(Verdict("s", 1, True, 99), Verdict("other", 2, False))
    await gateway.run(COUNT, session=ref("other"))
    assert gateway.so_far(waiting).result is None
    assert answer.result is not None
    await gateway.decide(ref(epoch=2), answer.result)
    assert (await gateway.end(waiting)).outputs[1] == 2


async def test_a_thread_of_a_session_may_stay(gateway: Gateway) -> None:
    source = """
import threading, os
def main(session):
    event = threading.Event()
    threading.Thread(target=event.wait, daemon=True).start()
    return os.getpid()
"""
    pids = [(await gateway.run(source, session=ref())).outputs for _ in range(2)]
    assert pids[0] == pids[1]


async def test_many_sessions_at_once_do_not_wait_for_each_other(gateway: Gateway) -> None:
    keys = [f"s{number}" for number in range(4)]
    answers = await asyncio.gather(*(gateway.run(COUNT, session=ref(key)) for key in keys))
    assert len({answer.outputs[0] for answer in answers}) == 4
