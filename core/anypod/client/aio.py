"""The client that awaits: the methods of ``Client``, as coroutines and async iterators.

async with AsyncClient() as client:
    await client.programs.put("greet", source="def main(name: str) -> str: ...")
    print((await client.run("greet", {"name": "Ada"})).outputs)
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Mapping,
)
from dataclasses import replace
from typing import Any, Self, TypeVar, Unpack

from anypod.api.documents import AnswerModel
from anypod.api.pools import PoolDocument, WorkerDocument
from anypod.api.programs import ProgramDocument, ProgramSummary, RevisionDocument
from anypod.api.sessions import SessionDocument, SessionLm, SessionSummary
from anypod.client import task_calls
from anypod.client.answers import Answer, Chunk, Ending, Page, StreamEvent
from anypod.client.batches import Batch, Inputs, Item, wanted
from anypod.client.calls import Api, Call, CodeArguments, LmArguments, RunArguments
from anypod.client.errors import NoAnswer
from anypod.client.events import EventParser
from anypod.client.http_async import Transport
from anypod.client.job_calls import JobApi, JobArguments
from anypod.client.jobs_async import AsyncJob, AsyncJobs
from anypod.client.settings import DEFAULT_URL, Settings
from anypod.client.task_calls import Example, Metric, TaskArguments

Listed = TypeVar("Listed", bound=AnswerModel)


class AsyncStream:
    """The events of a run, the last of which is its ``Answer``. Close it to cancel the run."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces
        self._events = self._read()

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return self

    async def __anext__(self) -> StreamEvent:
        return await anext(self._events)

    def chunks(self) -> AsyncIterator[Any]:
        """Only the values that the program yields."""
        return (event.data async for event in self if isinstance(event, Chunk))

    async def close(self) -> None:
        await self._events.aclose()
        await self._pieces.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _read(self) -> AsyncGenerator[StreamEvent, None]:
        parser, ending = EventParser(), Ending()
        try:
            async for (
                piece
            ) in self._pieces:  # to the end: the gateway sees a call that was finished
                for raw in parser.feed(piece):
                    event = ending.take(raw)
                    if event is not None:
                        yield event
        except NoAnswer:
            if not ending.is_told:
                raise
        finally:
            await self._pieces.aclose()
        ending.check()


class Programs:
    def __init__(self, transport: Transport, api: Api) -> None:
        self._transport = transport
        self._api = api

    async def create(
        self,
        id: str | None = None,  # noqa: A002 - the API's name
        **code: Unpack[CodeArguments],
    ) -> ProgramDocument:
        """A new program; the same again is no error. Raises Conflict when the id is taken."""
        return await self._transport.send(self._api.create_program(id, code))

    async def put(
        self,
        id: str,  # noqa: A002
        *,
        if_match: str | None = None,
        **code: Unpack[CodeArguments],
    ) -> ProgramDocument:
        """A new revision, or a new program. ``if_match`` is the revision that must be latest."""
        return await self._transport.send(self._api.put_program(id, code, if_match))

    async def get(self, id: str) -> ProgramDocument:  # noqa: A002
        return await self._transport.send(self._api.get_program(id))

    def list(self, labels: Mapping[str, str] | None = None) -> AsyncIterator[ProgramSummary]:
        """All programs, page by page as they are asked for."""
        return _all(self._transport, lambda after: self._api.list_programs(labels or {}, after))

    def revisions(self, id: str) -> AsyncIterator[RevisionDocument]:  # noqa: A002
        """The latest first."""
        return _all(self._transport, lambda after: self._api.list_revisions(id, after))

    async def delete(self, id: str, *, if_match: str | None = None) -> None:  # noqa: A002
        await self._transport.send(self._api.delete_program(id, if_match))

    async def rollback(
        self,
        id: str,  # noqa: A002
        revision: str | None = None,
        *,
        if_match: str | None = None,
    ) -> ProgramDocument:
        """Back to an earlier revision; to the one before the latest if none is named."""
        return await self._transport.send(self._api.roll_back_program(id, revision, if_match))


class _Runs:
    """What a pool and a session of it have in common."""

    def __init__(self, transport: Transport, api: Api) -> None:
        self._transport = transport
        self._api = api
        self.programs = Programs(transport, api)

    async def run(
        self,
        program: str,
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[RunArguments],
    ) -> Answer:
        """Run a program: its id, or ``id@revision``."""
        return await self._transport.send(self._api.run(program, inputs, options))

    async def stream(
        self,
        program: str,
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[RunArguments],
    ) -> AsyncStream:
        """Run a program and get what it yields and prints as it does so."""
        return AsyncStream(await self._transport.open(self._api.stream(program, inputs, options)))

    def map(
        self,
        program: str,
        inputs: AsyncIterable[Inputs] | Iterable[Inputs],
        *,
        ordered: bool = True,
        concurrency: int | None = None,
        return_exceptions: bool = False,
        **options: Unpack[RunArguments],
    ) -> AsyncGenerator[Item, None]:
        """Run a program on many inputs at once; an item for each, as they are asked for.

        ``inputs`` are mappings, or lines of JSON, and are read as they are needed. An item that
        failed is raised, or with ``return_exceptions`` has an ``error``. With ``ordered=False``
        items come as they are done. ``concurrency``: items at once, at most what the pool runs.
        Unless the key is empty, a connection that breaks ends nothing.
        """
        call = self._api.map(program, options, ordered=ordered, concurrency=concurrency)
        batch = Batch(self._transport, call, inputs)
        return wanted(batch.items(), return_exceptions=return_exceptions)

    async def run_source(
        self,
        source: str | Mapping[str, str],
        inputs: Mapping[str, Any] | None = None,
        *,
        entrypoint: str | None = None,
        **options: Unpack[RunArguments],
    ) -> Answer:
        """Run a program that is kept nowhere: its source, or its files by path."""
        call = self._api.run_source(source, entrypoint, inputs, options)
        return await self._transport.send(call)

    async def stream_source(
        self,
        source: str | Mapping[str, str],
        inputs: Mapping[str, Any] | None = None,
        *,
        entrypoint: str | None = None,
        **options: Unpack[RunArguments],
    ) -> AsyncStream:
        call = self._api.stream_source(source, entrypoint, inputs, options)
        return AsyncStream(await self._transport.open(call))

    async def submit(
        self,
        program: str,
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[JobArguments],
    ) -> AsyncJob:
        """Have a program run without waiting for it."""
        call = JobApi(self._api).submit(program, inputs, options)
        return AsyncJob(self._transport, self._api, (await self._transport.send(call)).id)

    async def submit_source(
        self,
        source: str | Mapping[str, str],
        inputs: Mapping[str, Any] | None = None,
        *,
        entrypoint: str | None = None,
        **options: Unpack[JobArguments],
    ) -> AsyncJob:
        call = JobApi(self._api).submit_source(source, entrypoint, inputs, options)
        return AsyncJob(self._transport, self._api, (await self._transport.send(call)).id)


class Session(_Runs):
    """One session: its programs run in one executor, and keep their globals and ``state``.

    ``programs`` are those that the session owns.
    """

    def __init__(self, transport: Transport, api: Api, key: str) -> None:
        super().__init__(transport, replace(api, session=key))
        self.key = key

    async def get(self) -> SessionDocument:
        return await self._transport.send(self._api.get_session(self.key))

    async def choose_lm(self, **lm: Unpack[LmArguments]) -> SessionLm:
        """For its programs of kind dspy, from the next call on."""
        return await self._transport.send(self._api.choose_lm(self.key, lm))

    async def end(self) -> None:
        await self._transport.send(self._api.end_session(self.key))


class Sessions:
    def __init__(self, transport: Transport, api: Api) -> None:
        self._transport = transport
        self._api = api

    def list(self) -> AsyncIterator[SessionSummary]:
        return _all(self._transport, self._api.list_sessions)

    async def get(self, key: str) -> SessionDocument:
        return await self._transport.send(self._api.get_session(key))

    async def end(self, key: str) -> None:
        """With its state and the programs that it owns."""
        await self._transport.send(self._api.end_session(key))


class Workers:
    def __init__(self, transport: Transport, api: Api) -> None:
        self._transport = transport
        self._api = api

    def list(self) -> AsyncIterator[WorkerDocument]:
        return _all(self._transport, self._api.list_workers)

    async def get(self, name: str) -> WorkerDocument:
        return await self._transport.send(self._api.get_worker(name))


class Pools:
    def __init__(self, transport: Transport, api: Api) -> None:
        self._transport = transport
        self._api = api

    def list(self) -> AsyncIterator[PoolDocument]:
        return _all(self._transport, self._api.list_pools)

    async def get(self, name: str) -> PoolDocument:
        return await self._transport.send(self._api.get_pool(name))


class AsyncClient(_Runs):
    """Awaits, in one event loop. Close it, or use it in an ``async with``.

    ``timeout`` bounds each call with its retries, in seconds, but for a run that says another.
    Default: 90; a run takes as long as its program, else its pool, allows.
    ``api_key``: what the gateway asks for; None for that of ``ANYPOD_API_KEY``, if it is set.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        pool: str = "default",
        *,
        timeout: float | None = None,
        retries: int = 2,
        session_header: str = "X-Session-ID",
        headers: Mapping[str, str] | None = None,
        api_key: str | None = None,
    ) -> None:
        api = Api(pool, session_header=session_header)
        super().__init__(Transport(Settings(url, timeout, retries, headers, api_key)), api)
        self.sessions = Sessions(self._transport, api)
        self.jobs = AsyncJobs(self._transport, api)
        self.workers = Workers(self._transport, api)
        self.pools = Pools(self._transport, api)

    async def evaluate(
        self,
        program: str,
        dataset: Iterable[Example],
        metric: Metric,
        **options: Unpack[TaskArguments],
    ) -> AsyncJob:
        """Have a program of kind dspy judged by examples: the job's outputs tell its score."""
        call = task_calls.evaluate(self._api, program, dataset, metric, options)
        return AsyncJob(self._transport, self._api, (await self._transport.send(call)).id)

    async def optimize(
        self,
        program: str,
        optimizer: str | Mapping[str, Any],
        trainset: Iterable[Example],
        metric: Metric,
        *,
        valset: Iterable[Example] | None = None,
        **options: Unpack[TaskArguments],
    ) -> AsyncJob:
        """Have a program of kind dspy made better by examples: what is found is its next revision,
        and the job's outputs tell the score before and after."""
        data = {"trainset": trainset, "valset": valset}
        call = task_calls.optimize(self._api, program, optimizer, data, metric, options)
        return AsyncJob(self._transport, self._api, (await self._transport.send(call)).id)

    def job(self, id: str) -> AsyncJob:  # noqa: A002 - the API's name
        """A handle of a job that was submitted before, by whomever."""
        return AsyncJob(self._transport, self._api, id)

    def session(self, key: str) -> Session:
        """A handle; the session begins with its first run."""
        return Session(self._transport, self._api, key)

    async def close(self) -> None:
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _all(
    transport: Transport, page: Callable[[str | None], Call[Page[Listed]]]
) -> AsyncIterator[Listed]:
    after: str | None = None
    while True:
        listing = await transport.send(page(after))
        for item in listing.items:
            yield item
        after = listing.next
        if after is None:
            return
