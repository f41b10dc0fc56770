"""Runs of an executor share its connections to providers, whichever program's they are."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.support.lm_server import LmServer, Reply, chat, lm_server
from tests.support.worker import Gateway, Worker, linked, started_worker, worker_config

from anypod.dspy import spec
from anypod.dspy.spec import LmChoice
from anypod.wire import pod
from anypod.wire.config import Lm
from anypod.wire.messages import Code

KEYS = {name: f"sk-of-{name}-0123456789abcdef" for name in ("one", "two")}
pytestmark = pytest.mark.asyncio(loop_scope="module")


def asks(output: str = "answer", lm: str = "one", module: str = "Predict") -> Code:
    signature = spec.Signature([spec.Field("question")], [spec.Field(output)])
    document = spec.Spec(signature, spec.Module(module), lm=LmChoice(lm))
    return Code("dspy", {spec.FILE: spec.encode(document)}, module)


@pytest.fixture(scope="module")
def serving() -> Iterator[LmServer]:
    with lm_server(lambda _: chat(reasoning="", reply="42", answer="42")) as serving:
        yield serving


@pytest.fixture
def lm(serving: LmServer) -> LmServer:
    """To which nobody has a connection."""
    serving.hang_up()
    serving.clear()
    return serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(serving: LmServer) -> AsyncIterator[Worker]:
    lms = [Lm(name, f"hosted_vllm/{name}", serving.url, retries=0) for name in KEYS]
    config = worker_config(executors=1, preload=["dspy"], lms=lms)
    keys = {f"{pod.LM_KEY}{n}": f"{name}={name.upper()}_KEY" for n, name in enumerate(KEYS)}
    keys |= {f"{name.upper()}_KEY": key for name, key in KEYS.items()}
    async with started_worker(config, environment={**os.environ, **keys}) as worker:
        yield worker


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(worker: Worker) -> AsyncIterator[Gateway]:
    async with linked(worker) as gateway:
        yield gateway


async def ask(gateway: Gateway, code: Code | None = None, group: str = "g", **how: object) -> str:
    answer = await gateway.run(code or asks(), {"question": "?"}, group=group, **how)
    return str(answer.outputs)


@pytest.mark.parametrize("group", ["", "g"])
async def test_one_run_after_another_asks_over_the_same(
    gateway: Gateway, worker: Worker, lm: LmServer, group: str
) -> None:
    for _ in range(3):
        await ask(gateway, group=group)
        await worker.until_idle(1)
    assert len(lm.asked) == 3
    assert len(lm.connections) == 1


async def test_with_other_programs_between_them_too(
    gateway: Gateway, worker: Worker, lm: LmServer
) -> None:
    async def python(source: str) -> None:
        assert (await gateway.run(source, {})).outputs is None
        await worker.until_idle(1)

    for code in (asks(), asks("reply"), asks(), asks("reply", module="ChainOfThought")):
        await ask(gateway, code)
        await worker.until_idle(1)
        await python("def main(): pass")
    assert len(lm.asked) == 4
    assert len(lm.connections) == 1


async def test_each_request_has_the_key_of_its_own_lm(
    gateway: Gateway, worker: Worker, lm: LmServer
) -> None:
    for name in ("one", "two", "one", "two"):
        await ask(gateway, asks(lm=name), group=name)
        await worker.until_idle(1)
    assert len(lm.connections) == 1
    assert [asked.key for asked in lm.asked] == [KEYS[asked.model] for asked in lm.asked]
    assert [asked.model for asked in lm.asked] == ["one", "two", "one", "two"]


async def test_a_stream_leaves_it_to_the_next_run(
    gateway: Gateway, worker: Worker, lm: LmServer
) -> None:
    for stream in (True, False, True):
        answer = await gateway.run(asks(), {"question": "?"}, group="g", stream=stream)
        assert answer.outputs == {"answer": "42"}
        await worker.until_idle(1)
    assert len(lm.connections) == 1


async def test_that_the_provider_has_closed_it_costs_nobody_a_run(
    gateway: Gateway, worker: Worker, lm: LmServer
) -> None:
    for _ in range(3):
        await ask(gateway)
        await worker.until_idle(1)
        lm.hang_up()
    assert len(lm.asked) == len(lm.connections) == 3


async def test_what_the_provider_may_have_worked_on_is_not_asked_again(
    gateway: Gateway, worker: Worker, lm: LmServer
) -> None:
    await ask(gateway)
    await worker.until_idle(1)
    lm.then(Reply(cut_after=0))
    answer = await gateway.run(asks(), {"question": "?"}, group="g")
    assert answer.failure.type == "lm-unavailable"
    assert len(lm.asked) == 2
    await worker.until_idle(1)
    await ask(gateway)


async def test_a_run_that_is_cancelled_leaves_nothing_to_the_next(
    gateway: Gateway, worker: Worker, lm: LmServer
) -> None:
    await ask(gateway)
    await worker.until_idle(1)
    lm.then(Reply(chat(answer="of the one that left"), delay=60))
    left = await gateway.begin(asks(), {"question": "?"}, group="g")
    await asyncio.to_thread(lm.wait_until, lambda lm: len(lm.asked) == 2)
    await gateway.cancel(left)
    await asyncio.to_thread(lm.wait_until, lambda lm: lm.asked[1].left)
    await gateway.end(left)
    await worker.until_idle(1)
    assert await ask(gateway) == "{'answer': '42'}"
    assert lm.asked[0].connection == lm.asked[1].connection != lm.asked[2].connection
