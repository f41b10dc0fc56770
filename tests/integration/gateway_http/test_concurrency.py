"""A program that waits: many of its executions share an executor, and callers notice nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from tests.support.rig import Answer, Caller, Rig, pool_of, rig

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXECUTORS = 4
CALLS = 200

MEET = """
import asyncio
import json
from pathlib import Path

async def main(number: int, folder: str, others: int) -> int:
    print("came", number)
    Path(folder, str(number)).touch()
    while len(list(Path(folder).iterdir())) < others:
        await asyncio.sleep(0.05)
    print("went", number)
    return number
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    pool = pool_of(executors=EXECUTORS, limits={"timeoutSeconds": 60})
    async with rig(tmp_path_factory.mktemp("rig"), pool=pool) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def caller(site: Rig) -> AsyncIterator[Caller]:
    """With as many connections as it likes."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        yield Caller(url=site.gateway.url, http=http)


async def test_two_hundred_run_at_once_on_four_executors_and_each_has_what_it_printed(
    caller: Caller, tmp_path: Path
) -> None:
    program = await caller.create(MEET, concurrency=CALLS // EXECUTORS)
    inputs = {"folder": str(tmp_path), "others": CALLS}
    answers = await asyncio.gather(
        *(caller.run(program, "?logs=true", number=n, **inputs) for n in range(CALLS))
    )
    assert [answer.outputs for answer in answers] == list(range(CALLS))
    told = [answer.document["execution"]["logs"]["stdout"] for answer in answers]
    assert told == [f"came {n}\nwent {n}\n" for n in range(CALLS)]
    for answer in answers:
        assert answer.headers["X-AnyPod-Worker"] == "w1"
        assert answer.headers["X-AnyPod-Attempt"] == "1"
        assert "run;dur=" in answer.headers["Server-Timing"]


async def test_no_more_run_at_once_than_the_program_says(caller: Caller, tmp_path: Path) -> None:
    """An executor takes two, so four take eight, and the ninth waits until one has ended."""
    program = await caller.create(MEET, concurrency=2)
    inputs = {"folder": str(tmp_path), "others": 2 * EXECUTORS + 1}
    runs = [
        asyncio.create_task(caller.run(program, number=number, **inputs))
        for number in range(2 * EXECUTORS)
    ]
    async with asyncio.timeout(30):
        while len(list(tmp_path.iterdir())) < 2 * EXECUTORS:
            await asyncio.sleep(0.01)
        last = asyncio.create_task(caller.run(program, number=99, **inputs))
        while (await caller.ask("GET", "")).document["queue"]["depth"] == 0:
            await asyncio.sleep(0.01)
    assert not (tmp_path / "99").exists()
    (tmp_path / "another").touch()
    assert [(await run).outputs for run in runs] == list(range(2 * EXECUTORS))
    assert (await last).outputs == 99


async def test_a_program_says_its_concurrency_and_it_makes_another_revision(
    caller: Caller,
) -> None:
    source = "async def main(): return 1"
    one = await caller.ask("PUT", "/programs/said", json={"source": source})
    many = await caller.ask("PUT", "/programs/said", json={"source": source, "concurrency": 8})
    assert (one.document["concurrency"], many.document["concurrency"]) == (1, 8)
    assert one.document["revision"] != many.document["revision"]
    listed = await caller.ask("GET", "/programs")
    assert {"said": 8}.items() <= {
        p["id"]: p["concurrency"] for p in listed.document["items"]
    }.items()
    back = await caller.ask("POST", "/programs/said/rollback", json={})
    assert back.document["concurrency"] == 1


@pytest.mark.parametrize(
    "source",
    [
        "def main(): return 1",
        "def main():\n    yield 1",
        "class main:\n    def __init__(self): ...",
    ],
)
async def test_a_program_that_does_not_wait_cannot_share_an_executor(
    caller: Caller, source: str
) -> None:
    refused = await caller.ask("POST", "/programs", json={"source": source, "concurrency": 2})
    assert (refused.status, refused.document["type"]) == (422, "invalid-program")
    assert refused.document["path"] == "concurrency"
    assert "'main:main' is neither" in refused.document["detail"]
    inline = await _inline(caller, source, concurrency=2)
    assert (inline.status, inline.document["type"]) == (422, "invalid-program")
    assert (await _inline(caller, source)).status in {200, 500}


@pytest.mark.parametrize(
    ("concurrency", "detail"), [(101, "100 in this pool"), (0, "greater"), ("x", "integer")]
)
async def test_a_concurrency_that_the_pool_does_not_allow_is_refused(
    caller: Caller, concurrency: Any, detail: str
) -> None:
    given = {"source": "async def main(): return 1", "concurrency": concurrency}
    refused = await caller.ask("POST", "/programs", json=given)
    assert refused.status in {400, 422}
    assert detail in refused.body.decode()


async def test_async_programs_of_every_form_run(caller: Caller) -> None:
    for source in (
        "async def main(): return [1, 2]",
        "async def main():\n    yield 1\n    yield 2",
        "class Entry:\n    async def __call__(self): return [1, 2]\nmain = Entry()",
        "import functools\nasync def f(a, b): return [a, b]\nmain = functools.partial(f, 1, b=2)",
        "async def main():\n    def twice():\n        yield 1\n        yield 2\n    return twice()",
    ):
        assert (await _inline(caller, source, concurrency=4)).outputs == [1, 2]


async def _inline(caller: Caller, source: str, **fields: Any) -> Answer:
    given = {"program": {"source": source, **fields}, "inputs": {}}
    return await caller.ask("POST", "/run", json=given)


ANY = """
import asyncio, os
from pathlib import Path

async def main(began: str, exits: bool = False) -> str:
    again = Path(began).exists()
    Path(began).touch()
    if exits:
        os._exit(4)
    await asyncio.sleep(0 if again else 60)
    return "the second time"
"""


@pytest.mark.parametrize("idempotent", [True, False])
async def test_who_loses_its_process_by_another_runs_again_only_if_idempotent(
    caller: Caller, tmp_path: Path, idempotent: bool
) -> None:
    program = await caller.create(ANY, concurrency=50, idempotent=idempotent)
    names = [f"{number}" for number in range(5)]
    runs = [asyncio.create_task(caller.run(program, began=str(tmp_path / name))) for name in names]
    await _exist(*(tmp_path / name for name in names))
    exited = await caller.run(program, began=str(tmp_path / "exits"), exits=True)
    assert (exited.status, exited.document["type"]) == (500, "program-exited")
    assert exited.document["exitCode"] == 4
    for answer in await asyncio.gather(*runs):
        if idempotent:
            assert answer.outputs == "the second time"
            assert answer.headers["X-AnyPod-Attempt"] == "2"
        else:
            assert (answer.status, answer.document["type"]) == (502, "worker-lost")
            assert "another execution" in answer.document["detail"]


ASK = """
import aiohttp

async def main(url: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return await answer.text()
"""


async def test_a_client_that_disconnects_is_noticed_by_the_provider(caller: Caller) -> None:
    """Whom the program asks sees it leave, and nobody else's question ends."""
    came, left, answer = asyncio.Semaphore(0), asyncio.Event(), asyncio.Event()

    async def handle(_: web.Request) -> web.Response:
        came.release()
        try:
            await answer.wait()
        except asyncio.CancelledError:
            left.set()
            raise
        return web.Response(text="answered")

    app = web.Application()
    app.add_routes([web.get("/", handle)])
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        program = await caller.create(ASK, concurrency=50)
        runs = [asyncio.create_task(caller.run(program, url=url)) for _ in range(4)]
        async with asyncio.timeout(30):
            for _ in runs:
                await came.acquire()
            runs.pop().cancel()
            await left.wait()
            answer.set()
            assert [(await run).outputs for run in runs] == ["answered"] * 3
    finally:
        await runner.cleanup()


async def test_what_shares_an_executor_is_counted(caller: Caller, tmp_path: Path) -> None:
    program = await caller.create(MEET, concurrency=50)
    inputs = {"folder": str(tmp_path), "others": 7}
    runs = [asyncio.create_task(caller.run(program, number=n, **inputs)) for n in range(6)]
    async with asyncio.timeout(30):
        while True:
            (worker,) = (await caller.ask("GET", "/workers")).document["items"]
            if (worker["busy"], worker["running"]) == (1, 6):
                break
            await asyncio.sleep(0.02)
    metrics = (await caller.ask("GET", "//metrics")).body.decode()
    assert 'anypod_executions_running{pool="default"} 6.0' in metrics
    (tmp_path / "another").touch()
    assert [(await run).outputs for run in runs] == list(range(6))


async def _exist(*files: Path) -> None:
    async with asyncio.timeout(30):
        while not all(file.exists() for file in files):
            await asyncio.sleep(0.01)


async def test_streams_that_share_an_executor_come_apart(caller: Caller) -> None:
    source = (
        "import asyncio\nasync def main(name: str):\n    for number in range(20):\n"
        "        print(name, number)\n        yield f'{name}-{number}'\n"
        "        await asyncio.sleep(0.001)\n"
    )
    program = await caller.create(source, concurrency=50)
    accept = {"Accept": "text/event-stream"}
    names = [f"n{number}" for number in range(20)]
    answers = await asyncio.gather(
        *(caller.run(program, "?logs=true", accept, name=name) for name in names)
    )
    for name, answer in zip(names, answers, strict=True):
        events = [event.split("\n") for event in answer.body.decode().split("\n\n") if event]
        told = [data.removeprefix("data: ") for kind, data in events if kind == "event: chunk"]
        assert told == [f'"{name}-{number}"' for number in range(20)]
        printed = [data for kind, data in events if kind == "event: log"]
        assert "".join(json.loads(each.removeprefix("data: "))["text"] for each in printed) == (
            "".join(f"{name} {number}\n" for number in range(20))
        )
