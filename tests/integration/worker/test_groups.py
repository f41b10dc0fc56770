"""Which executor a group of executions has, and when it gets another."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from tests.support.worker import (
    PATIENCE,
    Answer,
    Gateway,
    Worker,
    linked,
    started_worker,
    worker_config,
)

from anypod.wire.config import Limits, Recycle
from anypod.wire.messages import SessionRef

WAIT = """
import asyncio, os, pathlib
async def main(began: str = "", end: str = ""):
    if began:
        pathlib.Path(began).touch()
        while not pathlib.Path(end).exists():
            await asyncio.sleep(0.01)
    return os.getpid()
"""


@contextlib.asynccontextmanager
async def bench(**config: Any) -> AsyncIterator[tuple[Worker, Gateway]]:
    limits = Limits(interrupt_grace_seconds=0.5)
    async with (
        started_worker(worker_config(**{"executors": 2, "limits": limits, **config})) as worker,
        linked(worker) as gateway,
    ):
        yield worker, gateway


async def held(
    gateway: Gateway, folder: Path, name: str, group: str = "g", source: str = WAIT
) -> str:
    """An execution that runs until ``let_go``; its id."""
    began = folder / f"{name}-began"
    inputs = {"began": str(began), "end": str(folder / "end")}
    id_ = await gateway.begin(source, inputs, group=group)
    async with asyncio.timeout(PATIENCE):
        while not began.exists():
            await asyncio.sleep(0.005)
    return id_


def let_go(folder: Path) -> None:
    (folder / "end").touch()


async def test_a_group_has_one_executor_and_another_group_another(tmp_path: Path) -> None:
    async with bench() as (worker, gateway):
        ids = [await held(gateway, tmp_path, f"a{n}", "a") for n in range(3)]
        ids += [await held(gateway, tmp_path, f"b{n}", "b") for n in range(3)]
        await gateway.until(lambda: (gateway.load.busy, gateway.load.running) == (2, 6))
        full = await gateway.run(WAIT, group="c")
        assert full.refused is not None
        assert full.refused.reason == "full"
        assert (await gateway.run("def main(): return 1")).refused is not None
        let_go(tmp_path)
        pids = [(await gateway.end(id_)).outputs for id_ in ids]
        assert len(set(pids[:3])) == len(set(pids[3:])) == 1
        assert pids[0] != pids[3]
        await worker.until_idle(2)
        await gateway.until(lambda: gateway.load.running == 0)


async def test_groups_of_two_gateways_do_not_meet(tmp_path: Path) -> None:
    async with bench() as (worker, gateway), linked(worker, "g2") as other:
        ids = [await held(gateway, tmp_path, "a"), await held(other, tmp_path, "b")]
        let_go(tmp_path)
        assert (await gateway.end(ids[0])).outputs != (await other.end(ids[1])).outputs


async def test_a_new_program_is_asked_for_and_loaded_once_for_all_who_come(tmp_path: Path) -> None:
    async with bench(executors=1) as (_, gateway):
        source = WAIT + "\nprint('imported')\n"
        answers = await asyncio.gather(
            *(gateway.run(source, group="g", logs=True) for _ in range(10))
        )
        assert len({answer.outputs for answer in answers}) == 1


async def test_an_executor_that_has_forgotten_the_program_is_given_it_again() -> None:
    async with bench(executors=1, programs_per_executor=1) as (worker, gateway):
        for number in range(3):
            assert (await gateway.run(f"def main(): return {number}")).outputs == number
            answers = await asyncio.gather(*(gateway.run(WAIT, group="g") for _ in range(5)))
            assert all(answer.outputs for answer in answers)
            await worker.until_idle(1)


async def test_what_a_forgotten_program_says_of_its_progress_is_told_as_ever() -> None:
    source = "import anypod\nasync def main(): anypod.progress(1, 1, 'all of it')"
    async with bench(executors=1, programs_per_executor=1) as (worker, gateway):
        for number in range(3):
            assert (await gateway.run(f"def main(): return {number}")).outputs == number
            answer = await gateway.run(source, group="g", progress=True)
            assert [said.message for said in answer.progress] == ["all of it"]
            await worker.until_idle(1)


async def test_a_program_that_cannot_be_imported_fails_all_who_want_it() -> None:
    async with bench(executors=1) as (worker, gateway):
        source = "raise OSError('not today')\nasync def main(): ..."
        answers = await asyncio.gather(*(gateway.run(source, group="g") for _ in range(5)))
        assert {answer.failure.type for answer in answers} == {"invalid-program"}
        await worker.until_idle(1)
        assert (await gateway.run("def main(): return 1")).outputs == 1


async def test_an_import_that_takes_long_is_nobodys_fault(tmp_path: Path) -> None:
    """Who waits for it ends at its own deadline, and the import goes on."""
    async with bench(executors=1) as (_, gateway):
        source = f"import time, pathlib\npathlib.Path({str(tmp_path / 'importing')!r}).touch()\n"
        source += f"while not pathlib.Path({str(tmp_path / 'end')!r}).exists(): time.sleep(0.01)\n"
        source += WAIT
        first = await gateway.begin(source, group="g")
        async with asyncio.timeout(PATIENCE):
            while not (tmp_path / "importing").exists():
                await asyncio.sleep(0.005)
        late = await gateway.run(source, group="g", timeout=0.2)
        assert late.failure.type == "deadline-exceeded"
        let_go(tmp_path)
        assert (await gateway.end(first)).outputs


async def test_an_import_that_does_not_end_costs_nobody_else(tmp_path: Path) -> None:
    """It hangs once; who has waited for it runs in another executor."""
    async with bench() as (worker, gateway):
        hung = tmp_path / "hung"
        source = (
            f"import pathlib\nhung = pathlib.Path({str(hung)!r})\n"
            f"if not hung.exists():\n    hung.touch()\n    sum(range(10**12))\n{WAIT}"
        )
        first = await gateway.begin(source, group="g", timeout=3.0)
        async with asyncio.timeout(PATIENCE):
            while not hung.exists():
                await asyncio.sleep(0.005)
        second = await gateway.run(source, group="g")
        assert second.outputs
        assert (await gateway.end(first)).failure.type == "deadline-exceeded"
        await worker.until_idle(2)


async def test_a_worn_executor_is_replaced_though_the_group_is_never_empty(tmp_path: Path) -> None:
    recycle = Recycle(max_executions=5)
    async with bench(recycle=recycle) as (worker, gateway):
        first = await held(gateway, tmp_path, "first")
        pids = {(await gateway.run(WAIT, group="g")).outputs for _ in range(12)}
        let_go(tmp_path)
        pids.add((await gateway.end(first)).outputs)
        assert len(pids) > 1
        await gateway.until(lambda: gateway.load.restarts.get("max-executions", 0) >= 1)
        await worker.until_idle(2)


async def test_with_isolation_by_program_a_group_has_an_executor_of_its_program() -> None:
    async with bench(isolation="program") as (worker, gateway):
        for number in range(3):
            source = f"{WAIT}\nNUMBER = {number}\n"
            answers = await asyncio.gather(*(gateway.run(source, group=source) for _ in range(3)))
            assert len({answer.outputs for answer in answers}) == 1
        await worker.until_idle(2)


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def test_what_was_cancelled_before_its_executor_read_it_never_runs(tmp_path: Path) -> None:
    """Not even if the executor then asks for the program, which it has forgotten."""
    async with bench(executors=1, programs_per_executor=1) as (worker, gateway):
        for source in (WAIT, "import os\ndef main(): return os.getpid()"):
            pid = (await gateway.run(source, group="g" if source is WAIT else "")).outputs
            await worker.until_idle(1)
        began = tmp_path / "began"
        with frozen(pid):
            inputs = {"began": str(began), "end": str(tmp_path / "end")}
            id_ = await gateway.begin(WAIT, inputs, group="g")
            await gateway.until(lambda: gateway.load.running == 1)
            await gateway.cancel(id_)
            assert (await gateway.end(id_)).failure.detail == "the execution was cancelled"
        await worker.until_idle(1)
        assert (await gateway.run(WAIT, group="g")).outputs == pid
        assert not began.exists()


async def test_an_executor_that_hangs_is_lost_with_what_was_cancelled_in_it() -> None:
    async with bench(executors=1) as (worker, gateway):
        pid = (await gateway.run(WAIT, group="g")).outputs
        await worker.until_idle(1)
        with frozen(pid):
            id_ = await gateway.begin(WAIT, group="g")
            await gateway.until(lambda: gateway.load.running == 1)
            await gateway.cancel(id_)
            await gateway.until(lambda: gateway.load.restarts.get("stubborn") == 1)
        assert (await gateway.run(WAIT, group="g")).outputs != pid
        await worker.until_idle(1)


async def test_what_an_executor_that_hangs_has_not_begun_runs_in_another() -> None:
    async with bench(executors=1) as (worker, gateway):
        pid = (await gateway.run(WAIT, group="g")).outputs
        await worker.until_idle(1)
        with frozen(pid):
            ids = [await gateway.begin(WAIT, group="g") for _ in range(3)]
            pids = {(await gateway.end(id_)).outputs for id_ in ids}
        assert len(pids) == 1
        assert pids != {pid}
        await gateway.until(lambda: gateway.load.restarts == {"blocked": 1})


async def test_all_end_when_their_gateway_is_gone(tmp_path: Path) -> None:
    async with bench() as (worker, gateway):
        async with linked(worker, "g2") as other:
            for number in range(3):
                await held(other, tmp_path, f"a{number}")
            kept = await held(gateway, tmp_path, "kept")
            other.break_off()
        await gateway.until(lambda: (gateway.load.busy, gateway.load.running) == (1, 1))
        let_go(tmp_path)
        assert (await gateway.end(kept)).outputs


async def test_what_is_cancelled_while_its_program_is_asked_for_takes_no_executor() -> None:
    async with bench(executors=1) as (worker, gateway):
        gateway.gives_programs = False
        late = await gateway.run(WAIT, group="g", timeout=0.2)
        assert late.failure.type == "deadline-exceeded"
        await worker.until_idle(1)


async def test_a_worker_that_is_told_to_stop_lets_all_of_a_group_end(tmp_path: Path) -> None:
    async with bench() as (worker, gateway):
        ids = [await held(gateway, tmp_path, f"a{n}") for n in range(3)]
        worker.process.send_signal(signal.SIGTERM)
        await gateway.until(lambda: gateway.load.draining)
        refused = await gateway.run(WAIT, group="g")
        assert refused.refused is not None
        assert refused.refused.reason == "draining"
        let_go(tmp_path)
        ended: list[Answer] = [await gateway.end(id_) for id_ in ids]
        assert all(answer.outputs for answer in ended)


async def test_sessions_take_no_part() -> None:
    async with bench() as (_, gateway):
        session = SessionRef("s", 1)
        source = "COUNT = []\nasync def main():\n    COUNT.append(1)\n    return len(COUNT)"
        for number in range(1, 4):
            answer = await gateway.run(source, session=session, group="g")
            assert answer.outputs == number


ANYTHING = """
import asyncio, os
async def main(act: str):
    print("begins")
    await asyncio.sleep(0.01)
    match act:
        case "raise": raise ValueError(act)
        case "exit": os._exit(4)
        case "wait": await asyncio.Event().wait()
        case "stream":
            async def values():
                for number in range(20):
                    yield number
            return values()
    print("ends")
    return act
"""
ENDS = {
    "return": {""},
    "stream": {""},
    "raise": {"program-error"},
    "exit": {"program-exited"},
    "wait": {"deadline-exceeded"},
}


async def test_whatever_happens_all_are_answered_and_nothing_is_left() -> None:
    """Of two gateways, a few hundred executions at once that return, fail, stream, are cancelled or
    late, or end the process that others are in."""
    chance = random.Random(1)
    async with bench(executors=4) as (worker, gateway), linked(worker, "g2") as other:
        await gateway.run(ANYTHING, {"act": "return"}, group="first")

        async def one(front: Gateway, number: int) -> None:
            act = chance.choices(list(ENDS), weights=[50, 10, 10, 1, 10])[0]
            how = {"timeout": 0.5} if act == "wait" and number % 2 else {}
            stream = act == "stream" and bool(number % 2)
            id_ = await front.begin(
                ANYTHING, {"act": act}, group=f"{number % 2}", stream=stream, logs=True, **how
            )
            if act == "wait" and not how:
                await asyncio.sleep(chance.random() / 10)
                await front.cancel(id_)
            answer = await front.end(id_)
            if answer.refused is not None:
                return
            assert answer.result is not None
            failure = answer.result.failure
            ended = failure.type if failure is not None else ""
            if failure is not None and "kept the event loop" in failure.detail:
                return  # a machine that stood still for seconds is taken for a step that blocks
            assert ended in ENDS[act] | {"worker-lost"}, (act, failure)
            if act == "return" and not ended:
                assert answer.result.printed is not None
                assert answer.result.printed.stdout == "begins\nends\n"
            if act == "stream" and not ended:
                values = list(range(20))
                got = [int(chunk) for chunk in answer.chunks] if stream else answer.outputs
                assert got == values

        for _ in range(4):
            await asyncio.gather(
                *(one(front, number) for front in (gateway, other) for number in range(50))
            )
        await worker.until_idle(4)
        await gateway.until(lambda: gateway.load.running == 0)


FILES = """
import contextlib, os
def main():
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(name.split(":")[0] for name in found if not name.endswith("/step"))
"""


async def test_what_runs_alone_finds_no_files_of_the_groups_before_and_after_it() -> None:
    async with bench(executors=1) as (worker, gateway):
        before = (await gateway.run(FILES)).outputs
        pids = set()
        for _ in range(3):
            pids.add((await gateway.run(WAIT, group="g")).outputs)
            await worker.until_idle(1)
            assert (await gateway.run(FILES)).outputs == before
            await worker.until_idle(1)
        assert len(pids) == 1
