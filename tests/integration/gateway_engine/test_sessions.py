"""Sessions on real workers and real stores: one worker, one order, one state, whoever asks."""

import asyncio
import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.support.engine import Gateway, Site, gateway, request, site, until

from anypod.api.problems import AnyPodError
from anypod_gateway import renewals

COUNT = (
    "from anypod import session\n"
    "calls = 0\n"
    "def main():\n"
    "    global calls\n"
    "    calls += 1\n"
    "    session.state['n'] = session.state.get('n', 0) + 1\n"
    "    return [calls, session.state['n']]\n"
)
"""Calls that this executor has seen, and calls that the session's state has seen."""

APPEND = (
    "import time\n"
    "from anypod import session\n"
    "def main(n: int):\n"
    "    time.sleep(0.01)\n"
    "    session.state.setdefault('order', []).append(n)\n"
    "    return session.state['order']\n"
)
PLAIN = "calls = 0\ndef main():\n    global calls\n    calls += 1\n    return calls\n"


def slow(directory: Path) -> str:
    """Shows that it has begun, and writes to the state a second later."""
    return (
        "import pathlib, time\n"
        "from anypod import session\n"
        "def main(n: int):\n"
        f"    pathlib.Path({str(directory)!r}, f'begun-{{n}}').touch()\n"
        "    time.sleep(1.0)\n"
        "    session.state['n'] = session.state.get('n', 0) + 1\n"
        "    return session.state['n']\n"
    )


async def failure_of(work: Any) -> AnyPodError:
    with pytest.raises(AnyPodError) as caught:
        await asyncio.wait_for(work, 60)
    return caught.value


async def pinned(front: Gateway, key: str) -> str:
    """The worker that the store says has the session."""
    pin = await front.pool.sessions.get(key)
    assert pin is not None
    return pin.worker


async def kill(place: Site, name: str) -> None:
    await place.kill(name)
    await place.forget(name)


async def test_a_session_keeps_its_worker_its_globals_and_its_state(
    tmp_path: Path, store: str
) -> None:
    async with site(tmp_path, store=store) as place, gateway(place) as front:
        await place.start("w1", "w2")
        await front.sees("w1", "w2")
        workers = set()
        for number in range(1, 6):
            answer = await front.run(COUNT, session="s")
            assert json.loads(answer.outputs) == [number, number]
            assert answer.info.session == "s"
            workers.add(answer.info.worker)
        assert workers == {await pinned(front, "s")}
        assert await front.outputs(COUNT, session="other") == [1, 1]
        await until(front.nothing_is_left)


async def test_calls_of_a_session_run_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    async with site(tmp_path) as place, gateway(place) as front:
        await place.start("w1", "w2")
        await front.sees("w1", "w2")
        calls = [
            asyncio.create_task(front.outputs(APPEND, {"n": n}, session="s")) for n in range(30)
        ]
        answers = await asyncio.gather(*calls)
        assert answers[-1] == list(range(30))
        assert [answer[-1] for answer in answers] == list(range(30))


async def test_calls_of_a_session_wait_for_the_first_worker(tmp_path: Path) -> None:
    async with site(tmp_path) as place, gateway(place) as front:
        calls = [
            asyncio.create_task(front.outputs(APPEND, {"n": n}, session="s")) for n in range(5)
        ]
        await until(lambda: front.pool.queued() == 1)
        await place.start("w1")
        assert (await asyncio.gather(*calls))[-1] == [0, 1, 2, 3, 4]


async def test_a_busy_session_refuses_when_the_pool_says_so(tmp_path: Path) -> None:
    async with site(tmp_path, sessions={"onBusy": "fail"}) as place, gateway(place) as front:
        await place.start("w1")
        await front.sees("w1")
        program = slow(tmp_path)
        running = asyncio.create_task(front.outputs(program, {"n": 1}, session="s"))
        await until((tmp_path / "begun-1").exists)
        busy = await failure_of(front.run(program, {"n": 2}, session="s"))
        assert (busy.status, busy.type) == (409, "session-busy")
        assert busy.problem.session == "s"
        assert await running == 1
        assert not (tmp_path / "begun-2").exists()


async def test_state_that_is_too_large_is_refused_and_the_session_goes_on(tmp_path: Path) -> None:
    big = "from anypod import session\ndef main():\n    session.state['big'] = 'x' * 2_000_000\n"
    async with site(tmp_path) as place, gateway(place) as front:
        await place.start("w1")
        await front.sees("w1")
        await front.run(COUNT, session="s")
        refused = await failure_of(front.run(big, session="s"))
        assert refused.status in {413, 500}
        assert "1048576" in refused.problem.detail or refused.problem.limit
        answer = await front.outputs(COUNT, session="s")
        assert answer[1] == 2


async def test_a_failed_calls_state_is_not_kept(tmp_path: Path) -> None:
    failing = (
        "from anypod import session\n"
        "def main():\n"
        "    session.state['n'] = 100\n"
        "    raise ValueError('no')\n"
    )
    async with site(tmp_path) as place, gateway(place) as front:
        await place.start("w1")
        await front.sees("w1")
        await front.run(COUNT, session="s")
        assert (await failure_of(front.run(failing, session="s"))).type == "program-error"
        assert await front.outputs(COUNT, session="s") == [2, 2]


async def test_a_caller_that_leaves_does_not_stop_its_session(tmp_path: Path) -> None:
    async with site(tmp_path) as place, gateway(place) as front:
        await place.start("w1")
        await front.sees("w1")
        program = slow(tmp_path)
        leaving = asyncio.create_task(front.run(program, {"n": 1}, session="s"))
        await until((tmp_path / "begun-1").exists)
        leaving.cancel()
        await asyncio.wait({leaving})
        assert (await front.outputs(COUNT, session="s"))[1] == 1
        await until(front.nothing_is_left)


# a session's end


async def test_an_ended_session_is_forgotten_by_its_worker(tmp_path: Path, store: str) -> None:
    async with site(tmp_path, store=store) as place, gateway(place) as front:
        await place.start("w1")
        await front.sees("w1")
        await front.run(COUNT, session="s")
        await until(lambda: front.pool.workers()[0].sessions == 1)
        assert await front.pool.sessions.end("s") is not None
        await until(lambda: front.pool.workers()[0].sessions == 0)
        assert await front.outputs(COUNT, session="s") == [1, 1]


async def test_a_session_that_nobody_uses_expires(tmp_path: Path, store: str) -> None:
    spec = {"sessions": {"ttlSeconds": 1}}
    async with site(tmp_path, store=store, **spec) as place, gateway(place) as front:
        await place.start("w1")
        await front.sees("w1")
        await front.run(COUNT, session="s")
        await until(lambda: front.pool.workers()[0].sessions == 1)
        await until(lambda: front.pool.workers()[0].sessions == 0)
        assert await front.pool.sessions.get("s") is None
        assert await front.outputs(COUNT, session="s") == [1, 1]


async def test_a_session_that_is_used_or_runs_does_not_expire(tmp_path: Path, store: str) -> None:
    sleep = "import time\ndef main() -> None:\n    time.sleep(3.5)\n"
    spec = {"sessions": {"ttlSeconds": 2}}
    async with site(tmp_path, store=store, **spec) as place, gateway(place) as front:
        await place.start("w1")
        await front.sees("w1")
        assert await front.outputs(COUNT, session="s") == [1, 1]
        await front.run(sleep, session="s")
        for number in range(2, 8):
            assert await front.outputs(COUNT, session="s") == [number, number]
            await asyncio.sleep(0.5)


async def test_most_calls_of_a_session_ask_the_store_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    keep = renewals.Renewals._renew

    async def counted(self: renewals.Renewals, lease: Any) -> bool:
        asked["renew"] += 1
        return await keep(self, lease)

    monkeypatch.setattr(renewals.Renewals, "_renew", counted)
    async with site(tmp_path) as place, gateway(place) as front:
        await place.start("w1")
        await front.sees("w1")
        for number in range(1, 51):
            assert await front.outputs(PLAIN, session="s") == number
        assert asked["renew"] == 0


# a lost worker


async def test_a_lost_workers_session_goes_on_from_its_state(tmp_path: Path, store: str) -> None:
    async with site(tmp_path, store=store) as place, gateway(place) as front:
        await place.start("w1", "w2")
        await front.sees("w1", "w2")
        await front.run(COUNT, session="s")
        await front.run(COUNT, session="s")
        first = await pinned(front, "s")
        await kill(place, first)
        answer = await front.run(COUNT, session="s")
        assert json.loads(answer.outputs) == [1, 3]
        assert answer.info.worker != first
        assert front.heard.sessions == {"created": 1, "moved": 1}


async def test_a_worker_killed_while_the_pools_file_still_calls_it_ready_delays_little(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as place, gateway(place) as front:
        await place.start("w1", "w2")
        await front.sees("w1", "w2")
        await front.run(COUNT, session="s")
        await place.kill(await pinned(front, "s"))
        assert await asyncio.wait_for(front.outputs(COUNT, session="s"), 20) == [1, 2]


async def test_a_lost_workers_session_is_lost_when_the_pool_says_so(tmp_path: Path) -> None:
    spec = {"sessions": {"onWorkerLoss": "fail"}}
    async with site(tmp_path, **spec) as place, gateway(place) as front:
        await place.start("w1", "w2")
        await front.sees("w1", "w2")
        await front.run(COUNT, session="s")
        await kill(place, await pinned(front, "s"))
        calls = [asyncio.create_task(front.run(COUNT, session="s")) for _ in range(3)]
        for call in calls:
            lost = await failure_of(call)
            assert (lost.status, lost.type) == (410, "session-lost")
        assert await front.pool.sessions.get("s") is None
        assert await front.outputs(COUNT, session="s") == [1, 1]


@pytest.mark.parametrize("idempotent", [True, False])
async def test_calls_in_flight_on_a_lost_worker_follow_the_rule_of_retries(
    tmp_path: Path, idempotent: bool
) -> None:
    async with site(tmp_path) as place, gateway(place) as front:
        await place.start("w1", "w2")
        await front.sees("w1", "w2")
        program = slow(tmp_path)
        calls = [
            asyncio.create_task(
                front.outputs(program, {"n": n}, session="s", idempotent=idempotent)
            )
            for n in range(3)
        ]
        await until((tmp_path / "begun-0").exists)
        await kill(place, await pinned(front, "s"))
        if idempotent:
            assert await asyncio.gather(*calls) == [1, 2, 3]
        else:
            # The worker had all three; which of them it had begun, nobody can know.
            assert {(await failure_of(call)).type for call in calls} == {"worker-lost"}
        assert (await front.outputs(COUNT, session="s"))[0] == 1


async def test_only_a_lost_workers_sessions_move(tmp_path: Path, store: str) -> None:
    spec = {"store": store, "executors": 1, "sessions": {"maxPerWorker": 100}}
    async with site(tmp_path, **spec) as place, gateway(place) as front:
        await place.start("w1", "w2")
        await front.sees("w1", "w2")
        keys = [f"s{number}" for number in range(100)]
        assert await all_of(front, keys) == [[1, 1]] * 100
        before = {key: await pinned(front, key) for key in keys}
        spread = Counter(before.values())
        assert spread == {"w1": 50, "w2": 50}
        await place.start("w3")
        await front.sees("w1", "w2", "w3")
        assert await all_of(front, keys) == [[2, 2]] * 100
        assert {key: await pinned(front, key) for key in keys} == before
        assert (await front.run(COUNT, session="new")).info.worker == "w3"
        await kill(place, "w1")
        answers = await all_of(front, keys)
        for key, answer in zip(keys, answers, strict=True):
            assert answer == ([1, 3] if before[key] == "w1" else [3, 3])
        after = {key: await pinned(front, key) for key in keys}
        assert {key for key in keys if after[key] != before[key]} == {
            key for key in keys if before[key] == "w1"
        }


async def all_of(front: Gateway, keys: list[str]) -> list[Any]:
    slots = asyncio.Semaphore(8)

    async def one(key: str) -> Any:
        async with slots:
            return await front.outputs(COUNT, session=key, seconds=60)

    return await asyncio.gather(*(one(key) for key in keys))


async def test_a_draining_workers_session_moves_after_what_runs_has_ended(tmp_path: Path) -> None:
    async with site(tmp_path) as place, gateway(place) as front:
        await place.start("w1", "w2")
        await front.sees("w1", "w2")
        program = slow(tmp_path)
        running = asyncio.create_task(front.outputs(program, {"n": 1}, session="s"))
        await until((tmp_path / "begun-1").exists)
        first = await pinned(front, "s")
        place.workers[first].process.send_signal(signal.SIGTERM)
        await until(lambda: first not in front.ready())
        later = asyncio.create_task(front.outputs(COUNT, session="s"))
        assert await running == 1
        assert await later == [1, 2]
        assert await pinned(front, "s") != first


async def test_a_session_whose_worker_is_cut_off_and_comes_back_stays_where_it_is(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as place, gateway(place) as front:
        await place.start("w1", "w2")
        await front.sees("w1", "w2")
        await front.run(COUNT, session="s")
        first = await pinned(front, "s")
        await front.pool.roster.workers[first].close()  # the link breaks
        front.pool.roster.workers[first].start()
        assert await front.outputs(COUNT, session="s") == [2, 2]


async def test_streams_work_in_sessions(tmp_path: Path) -> None:
    program = (
        "from anypod import session\n"
        "def main():\n"
        "    for n in range(3):\n"
        "        session.state['n'] = n\n"
        "        yield n\n"
    )
    async with site(tmp_path) as place, gateway(place) as front:
        await place.start("w1")
        await front.sees("w1")
        runner = front.pool.runner
        events = [event async for event in runner.stream(request(program, session="s"))]
        assert [event.data for event in events[:-1]] == [b"0", b"1", b"2"]
        assert events[-1].info.session == "s"
        assert (await front.outputs(COUNT, session="s"))[1] == 3


# two gateways


async def test_two_gateways_alternate_on_one_session(tmp_path: Path, store: str) -> None:
    async with (
        site(tmp_path, store=store) as place,
        gateway(place, "g1") as one,
        gateway(place, "g2") as two,
    ):
        await place.start("w1", "w2")
        await one.sees("w1", "w2")
        await two.sees("w1", "w2")
        for number in range(1, 21):
            front = one if number % 2 else two
            assert await front.outputs(COUNT, session="s") == [number, number]
        first = await pinned(one, "s")
        await kill(place, first)
        for number in range(1, 11):
            front = one if number % 2 else two
            assert await front.outputs(COUNT, session="s") == [number, 20 + number]


async def test_two_gateways_that_begin_a_session_at_once_agree(tmp_path: Path, store: str) -> None:
    async with (
        site(tmp_path, store=store) as place,
        gateway(place, "g1") as one,
        gateway(place, "g2") as two,
    ):
        await place.start("w1", "w2")
        await one.sees("w1", "w2")
        await two.sees("w1", "w2")
        for number in range(10):
            answers = await asyncio.gather(
                *(front.outputs(COUNT, session=f"s{number}") for front in (one, two))
            )
            assert sorted(answers) == [[1, 1], [2, 2]]


async def test_a_gateway_that_starts_anew_finds_the_session(tmp_path: Path, store: str) -> None:
    async with site(tmp_path, store=store) as place:
        await place.start("w1", "w2")
        for number in range(1, 4):
            async with gateway(place, f"g{number}") as front:
                await front.sees("w1", "w2")
                assert await front.outputs(COUNT, session="s") == [number, number]


async def test_a_worker_that_was_only_cut_off_cannot_write_over_what_came_after_it(
    tmp_path: Path, store: str
) -> None:
    async with (
        site(tmp_path, store=store) as place,
        gateway(place, "g1") as one,
        gateway(place, "g2") as two,
    ):
        await place.start("w1", "w2")
        await one.sees("w1", "w2")
        await two.sees("w1", "w2")
        assert await one.outputs(COUNT, session="s") == [1, 1]
        first = await pinned(one, "s")
        program = slow(tmp_path)
        running = asyncio.create_task(one.outputs(program, {"n": 1}, session="s"))
        await until((tmp_path / "begun-1").exists)
        # The second gateway loses sight of the worker, and takes its sessions from it.
        worker = two.pool.roster.workers[first]
        worker.update(worker.endpoint.__class__(first, "127.0.0.1", 1, ready=True))
        two.pool.roster.departed(worker.hello.instance)  # type: ignore[union-attr]
        worker.retire()
        assert await two.outputs(COUNT, session="s") == [1, 2]
        late = await failure_of(running)
        assert (late.status, late.type) == (409, "session-state-conflict")
        assert await one.outputs(COUNT, session="s") == [2, 3]
        assert await pinned(one, "s") != first
