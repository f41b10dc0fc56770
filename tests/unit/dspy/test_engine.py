"""DSPy's engine as ours: what an LM of the pool asks is asked as DSPy would, in its loop."""

import asyncio
import functools
import threading
from typing import Any

import dspy
import pytest
from dspy.clients import capabilities, execution
from dspy.clients.engines import lm15_engine
from dspy.utils.callback import BaseCallback
from tests.support.lm_server import LmServer, Reply, chat

from anypod.dspy.spec import LmChoice
from anypod.wire.config import Lm
from anypod_worker.kinds.dspy import catalog, engine
from anypod_worker.kinds.dspy.connections import Idle
from anypod_worker.kinds.dspy.lms import Meter, PoolLm
from anypod_worker.kinds.given import Given


@pytest.fixture(autouse=True)
def as_dspy_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until ``engine.use``."""
    catalog.prepare()
    monkeypatch.setattr(execution, "AsyncLM15Engine", lm15_engine.AsyncLM15Engine)
    monkeypatch.setattr(execution, "_engine", engine._theirs)
    monkeypatch.setattr(execution, "_price_result", engine._price)
    for module in (execution, capabilities):
        monkeypatch.setattr(module, "asyncio", asyncio)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Threads."""
    begun: list[str] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        begun.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    return begun


class Seen(BaseCallback):  # type: ignore[misc]
    """What is told of an LM's call."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.told.append(inputs)

    def on_lm_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
        self.told.append((outputs, type(exception)))


UNPRICED, PRICED = "hosted_vllm/fast", "openai/gpt-4o-mini"


def ours(lm: LmServer, model: str = UNPRICED) -> PoolLm:
    declared = Lm("fast", model, lm.url, retries=0)
    return PoolLm(declared, LmChoice(), Given(keys={"fast": "sk-1"}), Meter(declared))


def theirs(lm: LmServer, model: str = UNPRICED) -> Any:
    given = {"api_base": lm.url, "api_key": "sk-1", "timeout": 60.0}
    return dspy.LM(model, cache=False, num_retries=0, engine="lm15", **given)


async def asked(lm: Any, *, stream: bool = False) -> tuple[Any, ...]:
    """What comes of a prediction, and all that is told of it on the way."""
    program, seen, said = dspy.Predict("question -> answer: int"), Seen(), []
    form = dspy.ChatAdapter(use_json_adapter_fallback=False)
    with dspy.track_usage() as usage, dspy.context(lm=lm, adapter=form, callbacks=[seen]):
        try:
            if stream:
                listened = dspy.streamify(program, is_async_program=True)
                said = [_piece(one) async for one in listened(question="?")]
            else:
                said = [dict(await program.acall(question="?"))]
        except dspy.DSPyError as error:
            said = [type(error), error.message, getattr(error, "retry_after", None)]
        finally:
            await lm.aclose()
    unlike = dict.fromkeys(("timestamp", "uuid", "response", "cost_details"))
    entries = [{**entry, **unlike} for entry in lm.history]
    return said, seen.told, usage.get_total_tokens(), entries


def _piece(said: Any) -> Any:
    return said["choices"] if isinstance(said, dict) else str(said)


REPLIES: list[Reply] = [
    Reply(chat(answer=42)),
    Reply("in no form"),
    Reply(status=429, retry_after=7),
    Reply(status=401),
    Reply(status=400, code="context_length_exceeded", message="maximum context length"),
    Reply(status=503),
    Reply(chat(answer=42), cut_after=0),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: f"{reply.status} {reply.text[:10]}")
async def test_whatever_a_provider_says_comes_to_the_same(
    lm: LmServer, reply: Reply, stream: bool
) -> None:
    lm.then(reply, reply)
    before = await asked(theirs(lm), stream=stream)
    engine.use()
    engine.use()
    after = await asked(theirs_as_ours(lm), stream=stream)
    assert after == before
    [first, second] = lm.asked
    assert second.body == first.body
    assert second.headers == first.headers


def theirs_as_ours(lm: LmServer) -> Any:
    """With DSPy's own way to keep a history, which ours does not."""
    made = ours(lm)
    made.update_history = functools.partial(dspy.LM.update_history, made)
    return made


@pytest.mark.parametrize("model", [UNPRICED, PRICED])
@pytest.mark.parametrize("stream", [False, True])
async def test_it_costs_what_dspy_says_though_no_history_is_kept(
    lm: LmServer, model: str, stream: bool
) -> None:
    lm.then(*[Reply(chat(answer=42), prompt_tokens=1000, completion_tokens=500)] * 2)
    *_, entries = await asked(theirs(lm, model), stream=stream)
    engine.use()
    asks = ours(lm, model)
    with dspy.context(disable_history=True):
        *_, history = await asked(asks, stream=stream)
    assert asks._meter.total().cost == entries[0]["cost"]
    assert (entries[0]["cost"] is None) == (model == UNPRICED)
    assert history == []


async def test_code_that_does_not_await_asks_and_pays_too(lm: LmServer) -> None:
    engine.use()
    lm.then(Reply(chat(answer=42), prompt_tokens=1000, completion_tokens=500))
    asks = ours(lm, PRICED)
    assert await asyncio.to_thread(asks, "?") == [chat(answer=42)]
    assert asks._meter.total().cost
    await asks.aclose()
    assert asks._engine_store == {}


async def test_a_pools_lm_needs_no_thread(lm: LmServer, begun: list[str]) -> None:
    engine.use()
    await asked(ours(lm))
    assert begun == []


async def test_somebody_elses_lm_is_asked_as_dspy_asks_it(lm: LmServer, begun: list[str]) -> None:
    engine.use()
    await asked(theirs(lm))
    assert begun


async def test_each_lm_has_an_engine_of_its_own_and_they_share_connections(
    lm: LmServer, waiting: Idle
) -> None:
    engine.use()
    made = [ours(lm), ours(lm)]
    for one in made:
        await one.acall("?")
    engines = [found for one in made for found in one._engine_store.values()]
    assert [type(found) for found in engines] == [engine.Engine] * 2
    assert engines[0] is not engines[1]
    assert len(waiting) == len(lm.connections) == 1
    for one in made:
        await one.aclose()
    assert len(waiting) == 1
