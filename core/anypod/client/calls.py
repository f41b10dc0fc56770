"""Every call of the API as data: what is sent, and how the answer is read.

Both clients send the same calls, so what one can say the other can.
"""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

import msgspec
from pydantic.alias_generators import to_camel

from anypod.api import idempotency, ids, ndjson
from anypod.api.documents import AnswerModel
from anypod.api.pools import PoolDocument, WorkerDocument
from anypod.api.programs import ProgramDocument, ProgramSummary, RevisionDocument
from anypod.api.sessions import SessionDocument, SessionLm, SessionSummary
from anypod.client import answers
from anypod.client.answers import Answer, Page

T = TypeVar("T")
M = TypeVar("M", bound=AnswerModel)
T_co = TypeVar("T_co", covariant=True)

EVENT_STREAM = "text/event-stream"
PAGE = 1000
"""Items that are asked for at once."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    method: str
    path: str
    read: Callable[[bytes], T_co]
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    repeatable: bool = False
    """Doing it twice does no harm."""
    keyed: bool = False
    """Sending it twice does it once."""
    execution_seconds: float | None = None
    """What the gateway is asked to allow the execution."""
    is_run: bool = False
    """An execution is waited for, of which the gateway knows how long it may take."""


class CodeArguments(TypedDict, total=False):
    """What a program may be given as: of kind python ``source`` or ``files``, with ``entrypoint``;
    of kind dspy what stands below ``kind``."""

    source: str
    files: Mapping[str, str]
    entrypoint: str
    timeout_seconds: float
    idempotent: bool
    concurrency: int
    """Executions that may run in one executor at once; for async programs."""
    labels: Mapping[str, str]
    kind: Literal["python", "dspy"]
    signature: str | Mapping[str, Any]
    instructions: str
    types: Mapping[str, Any]
    module: str | Mapping[str, Any]
    tools: Sequence[Mapping[str, str]]
    wrap: Mapping[str, Any]
    adapter: Literal["chat", "json", "xml"]
    lm: str | Mapping[str, Any]
    history_turns: int
    state: Mapping[str, Any]


class LmArguments(TypedDict, total=False):
    """Which of the pool's LMs, and what is said differently to it."""

    name: str
    temperature: float
    max_tokens: int


class ExecutionArguments(TypedDict, total=False):
    """How a program is to be run, whether or not somebody waits."""

    session: str
    timeout: float
    """The execution's, in seconds; its answer is waited for that long, and a little. Default: the
    program's, else the pool's; unless the client has a timeout, its answer is waited for."""
    idempotent: bool
    """The caller says that running it twice does no harm."""
    lm: str | Mapping[str, Any]
    """Of a program of kind dspy: one of the pool's LMs, or a mapping of ``name``, ``temperature``
    and ``maxTokens``."""
    idempotency_key: str
    """The run happens once for all calls that have the same; a fresh one if none is given, but for
    streams; empty for a call without one, which is cancelled when it is left."""


class RunArguments(ExecutionArguments, total=False):
    """How a program is to be run while somebody waits."""

    logs: bool
    """Return what it prints, too."""


def document_of(given: CodeArguments | LmArguments) -> dict[str, Any]:
    """As it is sent: what is not given is left out."""
    return {to_camel(name): value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class RunOptions:
    session: str | None = None
    timeout: float | None = None
    logs: bool = False
    idempotent: bool = False
    idempotency_key: str | None = None
    lm: str | Mapping[str, Any] | None = None


def encode(value: Any) -> bytes:
    """JSON. Raises ValueError for NaN and infinities, TypeError for what has no JSON form."""
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False, default=_builtin).encode()
    except UnicodeEncodeError:  # an unpaired surrogate: as an escape it is JSON
        return json.dumps(value, allow_nan=False, default=_builtin).encode()


def _builtin(value: Any) -> Any:
    return msgspec.to_builtins(value, enc_hook=_foreign)


def _foreign(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "model_dump"):  # a pydantic model
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):  # of numpy
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _unkeyed(given: RunArguments) -> RunArguments:
    """Unless there is a key: streams are not repeated, and end when they are left."""
    return {"idempotency_key": "", **given}


_LM_QUERY = {"name": "lm", "temperature": "temperature", "maxTokens": "maxTokens"}


def _lm_query(lm: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """What a run says in its body, for a call whose body is its items. Raises TypeError."""
    if lm is None or isinstance(lm, str):
        return {"lm": lm}
    if unknown := sorted(lm.keys() - _LM_QUERY.keys()):
        raise TypeError(f"lm is {', '.join(_LM_QUERY)}, and not {', '.join(unknown)}")
    return {_LM_QUERY[name]: value for name, value in lm.items()}


@dataclass(frozen=True, slots=True)
class Api:
    """The calls of one pool, optionally of one session in it."""

    pool: str
    session: str | None = None
    session_header: str = "X-Session-ID"

    @property
    def _root(self) -> str:
        return f"/v1/pools/{quote(self.pool, safe='')}"

    def _program(self, program: str) -> str:
        if not ids.is_program_id(program):
            raise ids.InvalidName(f"{program!r}: a program's id matches {ids.PROGRAM_ID}")
        return f"{self._root}/programs/{program}"

    def reference(self, program: str) -> str:
        """The path of ``id`` or ``id@revision``."""
        name, revision = ids.split_program_ref(program)
        return self._program(name) + (f"@{revision}" if revision else "")

    def _headers(self, if_match: str | None = None, session: str | None = None) -> dict[str, str]:
        headers = {}
        session = session if session is not None else self.session
        if session is not None:
            headers[self.session_header] = _session_key(session)
        if if_match is not None:
            headers["If-Match"] = f'"{if_match}"'
        return headers

    # programs

    def create_program(self, program: str | None, given: CodeArguments) -> Call[ProgramDocument]:
        body = document_of(given)
        if program is not None:
            self._program(program)
            body["id"] = program
        return Call(
            "POST",
            f"{self._root}/programs",
            answers.document(ProgramDocument),
            headers=self._headers(),
            body=encode(body),
            repeatable=program is not None,
        )

    def put_program(
        self, program: str, given: CodeArguments, if_match: str | None
    ) -> Call[ProgramDocument]:
        return Call(
            "PUT",
            self._program(program),
            answers.document(ProgramDocument),
            headers=self._headers(if_match),
            body=encode(document_of(given)),
            repeatable=if_match is None,
        )

    def get_program(self, program: str) -> Call[ProgramDocument]:
        return self._get(self._program(program), answers.document(ProgramDocument))

    def list_programs(
        self, labels: Mapping[str, str], after: str | None
    ) -> Call[Page[ProgramSummary]]:
        chosen = tuple(("label", f"{key}={value}") for key, value in labels.items())
        return self.list(f"{self._root}/programs", ProgramSummary, after, chosen)

    def list_revisions(self, program: str, after: str | None) -> Call[Page[RevisionDocument]]:
        path = f"{self._program(program)}/revisions"
        return self.list(path, RevisionDocument, after)

    def delete_program(self, program: str, if_match: str | None) -> Call[None]:
        return Call(
            "DELETE", self._program(program), answers.nothing, headers=self._headers(if_match)
        )

    def roll_back_program(
        self, program: str, revision: str | None, if_match: str | None
    ) -> Call[ProgramDocument]:
        return Call(
            "POST",
            f"{self._program(program)}/rollback",
            answers.document(ProgramDocument),
            headers=self._headers(if_match),
            body=encode({} if revision is None else {"revision": revision}),
        )

    # runs

    def run(
        self, program: str, inputs: Mapping[str, Any] | None, given: RunArguments
    ) -> Call[Answer]:
        name, revision = ids.split_program_ref(program)
        reference = f"{name}@{revision}" if revision else name
        return self._run(f"/programs/{reference}/run", {}, inputs, RunOptions(**given))

    def run_source(
        self,
        source: str | Mapping[str, str],
        entrypoint: str | None,
        inputs: Mapping[str, Any] | None,
        given: RunArguments,
    ) -> Call[Answer]:
        code: dict[str, Any] = {"source" if isinstance(source, str) else "files": source}
        if entrypoint is not None:
            code["entrypoint"] = entrypoint
        return self._run("/run", {"program": code}, inputs, RunOptions(**given))

    def stream(
        self, program: str, inputs: Mapping[str, Any] | None, given: RunArguments
    ) -> Call[Answer]:
        return self.run(program, inputs, _unkeyed(given))

    def stream_source(
        self,
        source: str | Mapping[str, str],
        entrypoint: str | None,
        inputs: Mapping[str, Any] | None,
        given: RunArguments,
    ) -> Call[Answer]:
        return self.run_source(source, entrypoint, inputs, _unkeyed(given))

    def map(
        self, program: str, given: RunArguments, *, ordered: bool, concurrency: int | None
    ) -> Call[None]:
        """Without its upload."""
        name, revision = ids.split_program_ref(program)
        reference = f"{name}@{revision}" if revision else name
        options = RunOptions(**given)
        query = {
            "unordered": None if ordered else "true",
            "concurrency": concurrency,
            "timeoutSeconds": options.timeout,
            "logs": "true" if options.logs else None,
            **_lm_query(options.lm),
        }
        key = self._key(options)
        headers = {"Content-Type": ndjson.MEDIA_TYPE, "Accept": ndjson.MEDIA_TYPE}
        if key:
            headers[idempotency.HEADER] = idempotency.header_of(key)
        return Call(
            "POST",
            f"{self._root}/programs/{reference}/map",
            answers.nothing,
            query=tuple((name, str(value)) for name, value in query.items() if value is not None),
            headers=headers | self._headers(session=options.session),
            repeatable=options.idempotent,
            keyed=bool(key),
        )

    def _run(
        self,
        path: str,
        body: dict[str, Any],
        inputs: Mapping[str, Any] | None,
        options: RunOptions,
    ) -> Call[Answer]:
        body["inputs"] = dict(inputs or {})
        if options.timeout is not None:
            body["timeoutSeconds"] = options.timeout
        if options.lm is not None:
            body["lm"] = options.lm
        key = self._key(options)
        headers = self._headers(session=options.session)
        if key:
            headers[idempotency.HEADER] = idempotency.header_of(key)
        return Call(
            "POST",
            self._root + path,
            answers.answer,
            query=(("logs", "true"),) if options.logs else (),
            headers=headers,
            body=encode(body),
            repeatable=options.idempotent,
            keyed=bool(key),
            execution_seconds=options.timeout,
            is_run=True,
        )

    def _key(self, options: RunOptions) -> str:
        if options.idempotency_key is None:
            return uuid.uuid4().hex
        return options.idempotency_key

    # sessions, workers, pools

    def list_sessions(self, after: str | None) -> Call[Page[SessionSummary]]:
        return self.list(f"{self._root}/sessions", SessionSummary, after)

    def get_session(self, session: str) -> Call[SessionDocument]:
        return self._get(self._session(session), answers.document(SessionDocument))

    def choose_lm(self, session: str, lm: LmArguments) -> Call[SessionLm]:
        return Call(
            "PUT",
            f"{self._session(session)}/lm",
            answers.document(SessionLm),
            body=encode(document_of(lm)),
            repeatable=True,
        )

    def end_session(self, session: str) -> Call[None]:
        return Call("DELETE", self._session(session), answers.nothing)

    def _session(self, session: str) -> str:
        segment = quote(_session_key(session), safe="")
        if not segment.strip("."):  # else taken for a step to this or the upper folder
            segment = segment.replace(".", "%2E")
        return f"{self._root}/sessions/{segment}"

    def list_workers(self, after: str | None) -> Call[Page[WorkerDocument]]:
        return self.list(f"{self._root}/workers", WorkerDocument, after)

    def get_worker(self, worker: str) -> Call[WorkerDocument]:
        path = f"{self._root}/workers/{_name(worker, 'worker')}"
        return self._get(path, answers.document(WorkerDocument))

    def list_pools(self, after: str | None) -> Call[Page[PoolDocument]]:
        return self.list("/v1/pools", PoolDocument, after)

    def get_pool(self, pool: str) -> Call[PoolDocument]:
        return self._get(f"/v1/pools/{_name(pool, 'pool')}", answers.document(PoolDocument))

    def _get(self, path: str, read: Callable[[bytes], T]) -> Call[T]:
        return Call("GET", path, read, headers=self._headers(), repeatable=True)

    def list(
        self,
        path: str,
        model: type[M],
        after: str | None,
        query: tuple[tuple[str, str], ...] = (),
    ) -> Call[Page[M]]:
        page = (("limit", str(PAGE)), *((("after", after),) if after else ()))
        return Call(
            "GET",
            path,
            answers.page(model),
            query=(*query, *page),
            headers=self._headers(),
            repeatable=True,
        )


def _session_key(key: str) -> str:
    if not ids.is_session_key(key):
        raise ids.InvalidName(f"{key!r}: a session's key matches {ids.SESSION_KEY}")
    return key


def _name(name: str, what: str) -> str:
    if not name or name.strip(".") == "":
        raise ids.InvalidName(f"{name!r} is not the name of a {what}")
    return quote(name, safe="")
