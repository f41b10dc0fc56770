"""One run of a DSPy program: what is asked of the LM, with which settings, and what is told.

Everything that DSPy would keep in the process is off: cache, history, traces, callbacks. The
settings hold in the run's own context, so runs that go on at the same time do not see each other's.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import dspy
from dspy.streaming import StreamListener, StreamResponse

from anypod.session import Session
from anypod.wire.config import Lm
from anypod_worker.kinds.dspy import failures, history, lms, modules, wraps
from anypod_worker.kinds.dspy.models import Models
from anypod_worker.kinds.given import Given
from anypod_worker.runtime.results import Last
from anypod_worker.runtime.signatures import Description

_WAITING = 16
"""Pieces of a stream that may be ahead of who reads it."""


class DspyPlan:
    """How the inputs of one program become a call of its entry; as ``runtime.inputs.Plan``."""

    def __init__(
        self,
        parts: modules.Parts,
        models: Models,
        reward: wraps.Reward | None,
        pool: Sequence[Lm],
    ) -> None:
        self._parts = parts
        self._models = models
        self._reward = reward
        self._pool = pool

    def bind(
        self, inputs: bytes, session: Session | None, given: Given | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Raises Rejected."""
        values = self._models.bind(inputs)
        return (values, session, given or Given()), {}

    def entry(
        self, values: dict[str, Any], session: Session | None, given: Given
    ) -> Awaitable[Any] | AsyncIterator[Any]:
        call = _Call(self, values, session, given)
        return call.streamed() if given.stream else call.whole()

    def description(self) -> Description:
        return self._models.description(self._parts.spec.signature.instructions or None)


class _Call:
    def __init__(
        self, plan: DspyPlan, values: dict[str, Any], session: Session | None, given: Given
    ) -> None:
        self._parts = plan._parts  # noqa: SLF001 - the two are one
        self._models = plan._models  # noqa: SLF001
        self._reward = plan._reward  # noqa: SLF001
        self._pool = plan._pool  # noqa: SLF001
        self._values = values
        self._session = session
        self._given = given

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

    async def _asked(self, predict: Callable[[dict[str, Any]], Awaitable[Any]]) -> dict[str, Any]:
        """With the run's LM and settings; the outputs, validated."""
        lm, choice = lms.chosen(self._pool, self._parts.spec.lm, self._given.lm)
        meter = lms.Meter(lm)
        inputs = history.filled(self._parts.spec, self._models.history, self._values, self._session)
        try:
            made = lms.PoolLm(lm, choice, self._given, meter)
        except dspy.LMError as error:
            raise failures.told(error, lm.name) from None
        with self._settings(made), dspy.track_usage() as tokens:
            try:
                outputs = self._models.told(await predict(inputs))
            except Exception as error:  # noqa: BLE001 - it is raised again, as callers know it
                raise failures.told(error, lm.name) from None
            finally:
                self._given.usage = meter.total(tokens.get_total_tokens())
                await made.aclose()
        history.kept(self._parts.spec, self._models.history, self._values, outputs, self._session)
        return outputs

    def _settings(self, lm: lms.PoolLm) -> AbstractContextManager[None]:
        settings: AbstractContextManager[None] = dspy.context(
            lm=lm,
            adapter=modules.adapter(self._parts.spec.adapter),
            callbacks=[],
            trace=[],
            max_trace_size=0 if self._parts.spec.wrap is None else 1000,
            track_usage=True,
            warn_on_type_mismatch=False,
        )
        return settings

    async def _predict(self, inputs: dict[str, Any]) -> Any:
        wrap = self._parts.spec.wrap
        if wrap is not None and self._reward is not None:
            return await wraps.best(self._parts, wrap, self._reward, inputs)
        return await modules.build(self._parts).acall(**inputs)

    async def _listen(self, inputs: dict[str, Any], queue: asyncio.Queue[Any]) -> Any:
        """The prediction, with pieces put into the queue as they come."""
        names = [f.name for f in self._parts.spec.signature.outputs if f.type == "str"]
        if self._parts.spec.wrap is not None or not names:
            return await self._predict(inputs)
        module = modules.build(self._parts)
        predictor, name = _last_predictor(module)
        listeners = [StreamListener(n, predict=predictor, predict_name=name) for n in names]
        streaming = dspy.streamify(module, stream_listeners=listeners, is_async_program=True)
        prediction = None
        async for item in streaming(**inputs):
            if isinstance(item, StreamResponse):
                if item.chunk:
                    await queue.put({"field": item.signature_field_name, "text": item.chunk})
            elif isinstance(item, dspy.Prediction):
                prediction = item
        assert prediction is not None, "a stream ends with its prediction"
        return prediction


def _last_predictor(module: Any) -> tuple[Any, str]:
    """The one that writes the outputs."""
    name, predictor = module.named_predictors()[-1]
    return predictor, name
