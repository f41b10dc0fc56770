"""A program over many inputs: sent while the answers come, and sent on when a connection breaks."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from anypod.api.executions import Execution
from anypod.api.ndjson import LineSplitter
from anypod.api.problems import AnyPodError, Problem
from anypod.client import answers
from anypod.client.calls import Call, encode
from anypod.client.errors import AnswerLost, NoAnswer, TimedOut, UnexpectedAnswer, error_of
from anypod.client.events import MAX_EVENT_BYTES
from anypod.client.http_async import Exchange, Transport
from anypod.client.ledgers import Ledger
from anypod.client.retries import Attempts
from anypod.client.sources import Source

REST_SECONDS = 2.0
"""For what comes after the last record, which is no more than the end of the body."""

Inputs = Mapping[str, Any] | bytes
"""The arguments by name; or these as JSON, as a line of a file is."""


@dataclass(frozen=True, slots=True)
class Item:
    """How one of the inputs of a batch went."""

    index: int
    """Of the inputs, from 0."""
    outputs: Any
    execution: Execution | None
    error: AnyPodError | None = None
    """Why there are no outputs."""


class Batch:
    def __init__(
        self,
        transport: Transport,
        call: Call[None],
        inputs: AsyncIterable[Inputs] | Iterable[Inputs],
    ) -> None:
        self._transport = transport
        self._call = call
        self._source = Source(inputs)
        self._ledger = Ledger()
        self._wrong: Exception | None = None
        """What the iterable raised, or what is wrong with one of its inputs."""
        self._exchange: Exchange | None = None

    async def items(self) -> AsyncGenerator[Item, None]:
        attempts = self._transport.attempts(self._call)
        try:
            while True:
                try:
                    async with aclosing(self._attempt(attempts.left())) as items:
                        async for item in items:
                            attempts = self._transport.attempts(self._call)  # it goes on
                            yield item
                    break
                except Exception as failure:
                    pause = self._pause(attempts, failure)
                    if pause is None:
                        raise
                await asyncio.sleep(pause)
        finally:
            await self._source.close()

    def _pause(self, attempts: Attempts, failure: Exception) -> float | None:
        """Before the batch is sent on; None if it is not to be."""
        if self._wrong is not None:
            raise self._wrong from None
        if isinstance(failure, TimedOut):  # with a heartbeat in it, silence is a broken connection
            failure = AnswerLost(str(failure))
        return attempts.pause(failure)

    async def _attempt(self, seconds: float) -> AsyncGenerator[Item, None]:
        exchange = await self._transport.exchange(self._call, self._lines(), seconds)
        self._exchange = exchange
        self._pin(exchange.headers.get("X-AnyPod-Revision", ""))
        splitter = LineSplitter(MAX_EVENT_BYTES)
        async with aclosing(exchange.pieces):
            if self._wrong is not None:
                raise self._wrong
            async for piece in exchange.pieces:
                for line in splitter.feed(piece):
                    if line is None:
                        raise UnexpectedAnswer("a line of the answer is too long")
                    if not line.strip():
                        continue
                    record = answers.parse(line)
                    if "end" in record:
                        await _read_rest(exchange.pieces)
                        self._check(record["end"])
                        return
                    yield self._item(record)
        raise AnswerLost("the answer ended without its last line")

    def _pin(self, revision: str) -> None:
        """What is sent on runs the revision that the batch began with."""
        path = self._call.path
        if revision and "@" not in path:
            pinned = f"{path.removesuffix('/map')}@{revision}/map"
            self._call = replace(self._call, path=pinned)

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        for piece in self._ledger.again():
            yield piece
        try:
            while True:
                await self._ledger.room()
                try:
                    inputs = await anext(self._source)
                except StopAsyncIteration:
                    return
                line = _line(inputs, self._ledger.sent)
                self._ledger.add(line)
                yield line
        except Exception as wrong:
            self._wrong = wrong
            if self._exchange is not None:
                self._exchange.cut()  # else nobody would tell who reads the answer
            raise

    def _item(self, record: dict[str, Any]) -> Item:
        try:
            item = _read(record)
        except (KeyError, TypeError, msgspec.ValidationError) as wrong:
            raise UnexpectedAnswer(f"not a line of a batch's answer: {wrong!r}") from None
        if not self._ledger.settle(item.index):
            raise UnexpectedAnswer(f"item {item.index} was answered, but is none that waits")
        return item

    def _check(self, end: dict[str, Any]) -> None:
        if "problem" in end:
            raise error_of(msgspec.convert(end["problem"], Problem))
        if not self._ledger.is_settled:
            raise UnexpectedAnswer("the answer ended, and some items have none")


async def _read_rest(pieces: AsyncGenerator[bytes, None]) -> None:
    """Else the connection is of no more use, and it looks as if this client had left early."""
    with suppress(NoAnswer, TimeoutError):
        async with asyncio.timeout(REST_SECONDS):
            async for _ in pieces:
                pass


def _line(inputs: Inputs, index: int) -> bytes:
    if isinstance(inputs, bytes):
        return inputs.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
    try:
        return encode(dict(inputs)) + b"\n"
    except (TypeError, ValueError) as wrong:
        wrong.add_note(f"input {index} of a batch")
        raise


def _read(record: dict[str, Any]) -> Item:
    index = record["index"]
    if "problem" in record:
        error = error_of(msgspec.convert(record["problem"], Problem))
        error.add_note(f"item {index} of a batch")
        return Item(index, None, None, error)
    return Item(index, record["outputs"], msgspec.convert(record["execution"], Execution))


async def wanted(
    items: AsyncGenerator[Item, None], *, return_exceptions: bool
) -> AsyncGenerator[Item, None]:
    """All items; or those before the first that failed, whose error is raised."""
    async with aclosing(items):
        async for item in items:
            if item.error is not None and not return_exceptions:
                raise item.error
            yield item
