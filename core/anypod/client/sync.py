"""The client that blocks.

with Client() as client:
    client.programs.put("greet", source="def main(name: str) -> str: ...")
    print(client.run("greet", {"name": "Ada"}).outputs)
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from anypod.api.documents import AnswerModel
from anypod.api.pools import PoolDocument, WorkerDocument
from anypod.api.programs import ProgramDocument, ProgramSummary, RevisionDocument
from anypod.api.sessions import SessionDocument, SessionLm, SessionSummary
from anypod.client import task_calls
from anypod.client.answers import Answer, Chunk, Ending, Page, StreamEvent
from anypod.client.calls import Api, Call, CodeArguments, LmArguments, RunArguments
from anypod.client.errors import NoAnswer
from anypod.client.events import EventParser
from anypod.client.http_sync import Transport
from anypod.client.job_calls import JobApi, JobArguments
from anypod.client.jobs_sync import Job, Jobs
from anypod.client.settings import DEFAULT_URL, Settings
from anypod.client.task_calls import Example, Metric, TaskArguments

if TYPE_CHECKING:
    from anypod.client.batches import Inputs, Item

Listed = TypeVar("Listed", bound=AnswerModel)


class Stream:
    """The events of a run, the last of which is its ``Answer``. Close it to cancel the run."""

    def __init__(self, pieces: Generator[bytes, None, None]) -> None:
        self._pieces = pieces
        self._events = self._read()

    def __iter__(self) -> Iterator[StreamEvent]:
        return self

    def __next__(self) -> StreamEvent:
        return next(self._events)

    def chunks(self) -> Iterator[Any]:
        """Only the values that the program yields."""
        return (event.data for event in self if isinstance(event, Chunk))

    def close(self) -> None:
        self._events.close()
        self._pieces.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Generator[StreamEvent, None, None]:
        parser, ending = EventParser(), Ending()
        try:
            for piece in self._pieces:  # to the end: the gateway sees a call that was finished
                for raw in parser.feed(piece):
                    event = ending.take(raw)
                    if event is not None:
                        yield event
        except NoAnswer:
            if not ending.is_told:
                raise
        finally:
            self._pieces.close()
        ending.check()


class Programs:
    def __init__(self, transport: Transport, api: Api) -> None:
        self._transport = transport
        self._api = api

    def create(
        self,
        id: str | None = None,  # noqa: A002 - the API's name
        **code: Unpack[CodeArguments],
    ) -> ProgramDocument:
        """A new program; the same again is no error. Raises Conflict when the id is taken."""
        return self._transport.send(self._api.create_program(id, code))

    def put(
        self,
        id: str,  # noqa: A002
        *,
        if_match: str | None = None,
        **code: Unpack[CodeArguments],
    ) -> ProgramDocument:
        """A new revision, or a new program. ``if_match`` is the revision that must be latest."""
        return self._transport.send(self._api.put_program(id, code, if_match))

    def get(self, id: str) -> ProgramDocument:  # noqa: A002
        return self._transport.send(self._api.get_program(id))

    def list(self, labels: Mapping[str, str] | None = None) -> Iterator[ProgramSummary]:
        """All programs, page by page as they are asked for."""
        return _all(self._transport, lambda after: self._api.list_programs(labels or {}, after))

    def revisions(self, id: str) -> Iterator[RevisionDocument]:  # noqa: A002
        """The latest first."""
        return _all(self._transport, lambda after: self._api.list_revisions(id, after))

    def delete(self, id: str, *, if_match: str | None = None) -> None:  # noqa: A002
        self._transport.send(self._api.delete_program(id, if_match))

    def rollback(
        self,
        id: str,  # noqa: A002
        revision: str | None = None,
        *,
        if_match: str | None = None,
    ) -> ProgramDocument:
        """Back to an earlier revision; to the one before the latest if none is named."""
        return self._transport.send(self._api.roll_back_program(id, revision, if_match))


class _Runs:
    """What a pool and a session of it have in common."""

    def __init__(self, transport: Transport, api: Api) -> None:
        self._transport = transport
        self._api = api
        self.programs = Programs(transport, api)

    def run(
        self,
        program: str,
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[RunArguments],
    ) -> Answer:
        """Run a program: its id, or ``id@revision``."""
        return self._transport.send(self._api.run(program, inputs, options))

    def stream(
        self,
        program: str,
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[RunArguments],
    ) -> Stream:
        """Run a program and get what it yields and prints as it does so."""
        return Stream(self._transport.open(self._api.stream(program, inputs, options)))

    def map(
        self,
        program: str,
        inputs: "Iterable[Inputs]",
        *,
        ordered: bool = True,
        concurrency: int | None = None,
        return_exceptions: bool = False,
        **options: Unpack[RunArguments],
    ) -> "Generator[Item, None, None]":
        """Run a program on many inputs at once; an item for each, as they are asked for.

        ``inputs`` are mappings, or lines of JSON, and are read as they are needed, in a thread. An
        item that failed is raised, or with ``return_exceptions`` has an ``error``. With
        ``ordered=False`` items come as they are done. ``concurrency``: items at once, at most what
        the pool runs. Unless the key is empty, a connection that breaks ends nothing.
        """
        from anypod.client import background  # only here, for it loads the other client's parts

        call = self._api.map(program, options, ordered=ordered, concurrency=concurrency)
        return background.items(
            self._transport.settings, call, inputs, return_exceptions=return_exceptions
        )

    def run_source(
        self,
        source: str | Mapping[str, str],
        inputs: Mapping[str, Any] | None = None,
        *,
        entrypoint: str | None = None,
        **options: Unpack[RunArguments],
    ) -> Answer:
        """Run a program that is kept nowhere: its source, or its files by path."""
        call = self._api.run_source(source, entrypoint, inputs, options)
        return self._transport.send(call)

    def stream_source(
        self,
        source: str | Mapping[str, str],
        inputs: Mapping[str, Any] | None = None,
        *,
        entrypoint: str | None = None,
        **options: Unpack[RunArguments],
    ) -> Stream:
        call = self._api.stream_source(source, entrypoint, inputs, options)
        return Stream(self._transport.open(call))

    def submit(
        self,
        program: str,
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[JobArguments],
    ) -> Job:
        """Have a program run without waiting for it."""
        call = JobApi(self._api).submit(program, inputs, options)
        return Job(self._transport, self._api, (self._transport.send(call)).id)

    def submit_source(
        self,
        source: str | Mapping[str, str],
        inputs: Mapping[str, Any] | None = None,
        *,
        entrypoint: str | None = None,
        **options: Unpack[JobArguments],
    ) -> Job:
        call = JobApi(self._api).submit_source(source, entrypoint, inputs, options)
        return Job(self._transport, self._api, (self._transport.send(call)).id)


class Session(_Runs):
    """One session: its programs run in one executor, and keep their globals and ``state``.

    ``programs`` are those that the session owns.
    """

    def __init__(self, transport: Transport, api: Api, key: str) -> None:
        super().__init__(transport, replace(api, session=key))
        self.key = key

    def get(self) -> SessionDocument:
        return self._transport.send(self._api.get_session(self.key))

    def choose_lm(self, **lm: Unpack[LmArguments]) -> SessionLm:
        """For its programs of kind dspy, from the next call on."""
        return self._transport.send(self._api.choose_lm(self.key, lm))

    def end(self) -> None:
        self._transport.send(self._api.end_session(self.key))


class Sessions:
    def __init__(self, transport: Transport, api: Api) -> None:
        self._transport = transport
        self._api = api

    def list(self) -> Iterator[SessionSummary]:
        return _all(self._transport, self._api.list_sessions)

    def get(self, key: str) -> SessionDocument:
        return self._transport.send(self._api.get_session(key))

    def end(self, key: str) -> None:
        """With its state and the programs that it owns."""
        self._transport.send(self._api.end_session(key))


class Workers:
    def __init__(self, transport: Transport, api: Api) -> None:
        self._transport = transport
        self._api = api

    def list(self) -> Iterator[WorkerDocument]:
        return _all(self._transport, self._api.list_workers)

    def get(self, name: str) -> WorkerDocument:
        return self._transport.send(self._api.get_worker(name))


class Pools:
    def __init__(self, transport: Transport, api: Api) -> None:
        self._transport = transport
        self._api = api

    def list(self) -> Iterator[PoolDocument]:
        return _all(self._transport, self._api.list_pools)

    def get(self, name: str) -> PoolDocument:
        return self._transport.send(self._api.get_pool(name))


class Client(_Runs):
    """Blocks; many threads may share one. Close it, or use it in a ``with``.

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
        self.jobs = Jobs(self._transport, api)
        self.workers = Workers(self._transport, api)
        self.pools = Pools(self._transport, api)

    def evaluate(
        self,
        program: str,
        dataset: Iterable[Example],
        metric: Metric,
        **options: Unpack[TaskArguments],
    ) -> Job:
        """Have a program of kind dspy judged by examples: the job's outputs tell its score."""
        call = task_calls.evaluate(self._api, program, dataset, metric, options)
        return Job(self._transport, self._api, (self._transport.send(call)).id)

    def optimize(
        self,
        program: str,
        optimizer: str | Mapping[str, Any],
        trainset: Iterable[Example],
        metric: Metric,
        *,
        valset: Iterable[Example] | None = None,
        **options: Unpack[TaskArguments],
    ) -> Job:
        """Have a program of kind dspy made better by examples: what is found is its next revision,
        and the job's outputs tell the score before and after."""
        data = {"trainset": trainset, "valset": valset}
        call = task_calls.optimize(self._api, program, optimizer, data, metric, options)
        return Job(self._transport, self._api, (self._transport.send(call)).id)

    def job(self, id: str) -> Job:  # noqa: A002 - the API's name
        """A handle of a job that was submitted before, by whomever."""
        return Job(self._transport, self._api, id)

    def session(self, key: str) -> Session:
        """A handle; the session begins with its first run."""
        return Session(self._transport, self._api, key)

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _all(
    transport: Transport, page: Callable[[str | None], Call[Page[Listed]]]
) -> Iterator[Listed]:
    after: str | None = None
    while True:
        listing = transport.send(page(after))
        yield from listing.items
        after = listing.next
        if after is None:
            return
