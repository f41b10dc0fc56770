"""Programs that ask LMs take turns in one executor, which has room for one of them."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.lm_server import LmServer, chat, lm_server
from tests.support.worker import (
    PATIENCE,
    Gateway,
    Worker,
    linked,
    started_worker,
    worker_config,
)

from anypod.dspy import spec
from anypod.wire import pod
from anypod.wire.config import Lm
from anypod.wire.messages import Code

KEY = "sk-of-this-test-0123456789abcdef"
pytestmark = pytest.mark.asyncio(loop_scope="module")


def asks(output: str, reward: str = "") -> Code:
    """A program that asks its LM a question."""
    signature = spec.Signature([spec.Field("question")], [spec.Field(output)])
    wrap = spec.Wrap("BestOfN", reward, threshold=1) if reward else None
    document = spec.Spec(signature, spec.Module("Predict"), wrap=wrap)
    return Code("dspy", {spec.FILE: spec.encode(document)}, "Predict")


@pytest.fixture(scope="module")
def lm() -> Iterator[LmServer]:
    with lm_server(
        lambda asked: chat(**{"answer" if "answer" in asked.last else "reply": "42"})
    ) as lm:
        yield lm


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(lm: LmServer) -> AsyncIterator[Worker]:
    config = worker_config(
        executors=1,
        preload=["dspy"],
        programs_per_executor=1,
        lms=[Lm("fast", "hosted_vllm/fast", lm.url, retries=0)],
    )
    keys = {f"{pod.LM_KEY}0": "fast=FAST_KEY", "FAST_KEY": KEY}
    async with started_worker(config, environment={**os.environ, **keys}) as worker:
        yield worker


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(worker: Worker) -> AsyncIterator[Gateway]:
    async with linked(worker) as gateway:
        yield gateway


@pytest.mark.parametrize("group", ["", "g"])
async def test_a_program_that_an_executor_has_forgotten_asks_its_lm_with_its_key(
    gateway: Gateway, worker: Worker, lm: LmServer, group: str
) -> None:
    lm.clear()
    for output in ("answer", "reply") * 2:
        how = {"group": group and output}
        at_once = range(2 if group else 1)
        runs = [gateway.run(asks(output), {"question": "?"}, **how) for _ in at_once]
        answers = await asyncio.gather(*runs)
        assert all(answer.outputs == {output: "42"} for answer in answers)
        await worker.until_idle(1)
    assert {asked.key for asked in lm.asked} == {KEY}


AT_CUTS = """
def reward(inputs, outputs):
    import anypod, dspy
    key = dspy.settings.lm.kwargs["api_key"]
    anypod.progress(1, 1, "." * 495 + key)
    raise ValueError("." * 2040 + key + "." * 9000 + key + "." * 2040)
"""


@pytest.mark.parametrize("group", ["", "g"])
async def test_where_text_is_cut_nothing_of_a_key_is_left(
    gateway: Gateway, worker: Worker, group: str
) -> None:
    code = asks("answer", AT_CUTS)
    answer = await gateway.run(code, {"question": "?"}, group=group, progress=True)
    told = [answer.failure.detail, answer.failure.message, answer.failure.traceback]
    told += [said.message for said in answer.progress]
    for text in told:
        assert "[an" in text
        assert KEY[:4] not in text
        assert KEY[-4:] not in text
    assert len(answer.progress) == 1
    await worker.until_idle(1)


TELLS = """
import asyncio, os, pathlib
async def main(key: str, began: str, end: str):
    pathlib.Path(began).touch()
    while not pathlib.Path(end).exists():
        await asyncio.sleep(0.01)
    for piece in (key[:9], key[9:], chr(10)):
        os.write(1, piece.encode())
    print(key)
    os.system("echo and by a child " + key)
"""


async def test_what_several_print_to_a_descriptor_is_logged_without_keys(
    gateway: Gateway, worker: Worker, tmp_path: Path
) -> None:
    files = [tmp_path / f"began{number}" for number in range(2)]
    end = tmp_path / "end"
    ids = [
        await gateway.begin(
            TELLS, {"key": KEY, "began": str(file), "end": str(end)}, group="g", logs=True
        )
        for file in files
    ]
    async with asyncio.timeout(PATIENCE):
        while not all(file.exists() for file in files):
            await asyncio.sleep(0.005)
    end.touch()
    for id_ in ids:
        answer = await gateway.end(id_)
        assert answer.result is not None
        assert answer.result.printed is not None
        assert "[an LM's key]" in answer.result.printed.stdout
    assert "several in executor" in await worker.wait_for_log("[an LM's key]")
    await worker.until_idle(1)
    await worker.wait_for_log("and by a child [an LM's key]")
    assert [line for line in worker.log if KEY in line or KEY[9:] in line] == []
