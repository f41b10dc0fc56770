"""One run of a DSPy program: what is asked of the LM, with which settings, and what is told.

Everything that DSPy would keep in the process is off: cache, history, traces, callbacks. The
settings hold in the run's own context, so runs that go on at the same time do not see each other's.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import dspy

from anypod.dspy.spec import Spec
from anypod.session import Session
from anypod.wire.config import Lm
from anypod_worker.keys import Hiding, Keys
from anypod_worker.kinds.dspy import failures, history, lms, marks, modules, splitters, wraps
from anypod_worker.kinds.dspy.models import REASONING, Models
from anypod_worker.kinds.given import Given
from anypod_worker.runtime.results import Last
from anypod_worker.runtime.signatures import Description

Predict = Callable[[dict[str, Any]], Awaitable[Any]]

_WAITING = 16
"""Pieces of a stream that may be ahead of who reads it."""


@dataclass(frozen=True, slots=True)
class DspyPlan:
    """What is known of a program before it runs; binds inputs, as ``runtime.inputs.Plan`` does."""

    waits: ClassVar[bool] = True

    parts: modules.Parts
    models: Models
    reward: wraps.Reward | None
    pool: Sequence[Lm]

    def bind(
        self, inputs: bytes, session: Session | None, given: Given | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Raises Rejected."""
        return (self.models.bind(inputs), session, given or Given()), {}

    def entry(
        self, values: dict[str, Any], session: Session | None, given: Given
    ) -> Awaitable[Any] | AsyncIterator[Any]:
        call = _Call(self, values, session, given)
        return call.streamed() if given.stream else call.whole()

    def description(self) -> Description:
        """Of a revision that is made. Raises InvalidProgram."""
        modules.check_demos(self.parts)
        return self.models.description(self.parts.spec.signature.instructions or None)


@asynccontextmanager
async def asking(plan: DspyPlan, given: Given) -> AsyncIterator[str]:
    """With the LM of the run, whose name it gives, and its settings; what was asked is counted.
    What DSPy raises within comes out as callers know it."""
    document = plan.parts.spec
    lm, choice = lms.chosen(plan.pool, document.lm, given.lm)
    meter = lms.Meter(lm, given.tell)
    made = lms.made(lm, choice, given, meter)
    marks.renew()
    with dspy.track_usage() as tracked:
        meter.read(tracked.usage_data)
        try:
            with dspy.context(
                lm=made,
                adapter=modules.adapter(document.adapter),
                callbacks=[],
                trace=[],
                max_trace_size=0 if document.wrap is None else 1000,
                track_usage=True,
                disable_history=True,
                warn_on_type_mismatch=False,
            ):
                yield lm.name
        except Exception as error:  # noqa: BLE001 - it is raised again, as callers know it
            raise failures.told(error, lm.name) from None
        finally:
            given.usage = meter.total()
            await made.aclose()


async def predicted(plan: DspyPlan, inputs: dict[str, Any]) -> Any:
    """What the program says to inputs: DSPy's prediction."""
    wrap = plan.parts.spec.wrap
    if wrap is not None and plan.reward is not None:
        return await wraps.best(plan.parts, wrap, plan.reward, inputs)
    return await plan.parts.copies.take().acall(**inputs)


@dataclass(frozen=True, slots=True)
class _Call:
    plan: DspyPlan
    values: dict[str, Any]
    session: Session | None
    given: Given

    async def whole(self) -> dict[str, Any]:
        return await self._asked(self._predict)

    async def streamed(self) -> AsyncIterator[Any]:
        """Pieces of the outputs as the LM says them, and last the outputs.

        What DSPy streams is read in a task of its own: breaking it off from here would break off
        more than it.
        """
        queue: asyncio.Queue[Any] = asyncio.Queue(_WAITING)

        async def read() -> None:
            try:
                outputs = await self._asked(lambda inputs: self._listen(inputs, queue))
                await queue.put(Last(outputs))
            except Exception as error:  # noqa: BLE001 - it is raised to who reads
                await queue.put(error)

        reading = asyncio.create_task(read())
        try:
            while True:
                item = await queue.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, Last):
                    return
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _asked(self, predict: Predict) -> dict[str, Any]:
        """With the run's LM and settings; the outputs, validated."""
        plan, document = self.plan, self.plan.parts.spec
        inputs = history.filled(
            document, plan.models.history, self.values, self.session, plan.models.turn
        )
        async with asking(plan, self.given):
            outputs = plan.models.told(await predict(inputs))
        history.kept(document, plan.models.history, self.values, outputs, self.session)
        return outputs

    async def _predict(self, inputs: dict[str, Any]) -> Any:
        return await predicted(self.plan, inputs)

    async def _listen(self, inputs: dict[str, Any], queue: asyncio.Queue[Any]) -> Any:
        """The prediction, with pieces put into the queue as they come."""
        parts = self.plan.parts
        names = _told_as_they_come(parts.spec)
        if parts.spec.wrap is not None or not names:
            return await self._predict(inputs)
        module = parts.copies.take()
        splitter = splitters.splitter(parts.spec.adapter, names)
        pieces = _Pieces(queue, Keys(self.given.keys), splitter)
        listens = SimpleNamespace(predict=_last_predictor(module))
        with dspy.context(send_stream=pieces, stream_listeners=[listens]):
            prediction = await module.acall(**inputs)
        await pieces.end({name: prediction.get(name) for name in names})
        return prediction


class _Pieces:
    """What an LM says, as it comes; a key in it may come in several pieces."""

    def __init__(self, queue: asyncio.Queue[Any], keys: Keys, splitter: splitters.Splitter) -> None:
        self._queue = queue
        self._keys = keys
        self._splitter = splitter
        self._said: dict[str, list[str]] = {}
        self._hiding: dict[str, Hiding] = {}

    async def send(self, chunk: Any) -> None:
        """As DSPy has it from the LM."""
        for field, text in self._splitter.feed(chunk.choices[0].delta.content or ""):
            await self._say(field, text)

    async def end(self, outputs: dict[str, Any]) -> None:
        """What of the outputs was not certain before, and what was held back in case a key began
        there."""
        for field, value in outputs.items():
            said = "".join(self._said.get(field, ()))
            if isinstance(value, str):
                whole = value if value.startswith(said) else value.lstrip()
                await self._say(field, whole[len(said) :] if whole.startswith(said) else "")
        for field, hiding in self._hiding.items():
            await self._put(field, hiding.end())

    async def _say(self, field: str, text: str) -> None:
        self._said.setdefault(field, []).append(text)
        hiding = self._hiding.setdefault(field, Hiding(self._keys))
        await self._put(field, hiding.feed(text.encode("utf-8", "surrogatepass")))

    async def _put(self, field: str, text: bytes) -> None:
        if text:
            said = text.decode("utf-8", "surrogatepass")
            await self._queue.put({"field": field, "text": said})


def _told_as_they_come(document: Spec) -> list[str]:
    """Outputs that are texts: of an agent without its reasoning, which are thoughts."""
    names = [field.name for field in document.signature.outputs if field.type == "str"]
    return [REASONING, *names] if document.module.name == "ChainOfThought" else names


def _last_predictor(module: Any) -> Any:
    """The one that writes the outputs."""
    return module.predictors()[-1]
