"""The items of a batch: each is a run of its own, and a line of the answer whatever becomes of it.

An item takes its turn through the pool's admission as any call does; what it is refused there, it
tries again until its deadline. With a key each item has one of its own, made of the batch's key
and of what the item is, so that a batch that is sent again runs only what has no answer yet.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from anypod.api import executions, ids
from anypod.api.executions import InvalidRequest
from anypod.api.problems import AnyPodError, error
from anypod.dspy.spec import LmChoice
from anypod.store.once import Answer
from anypod.wire.messages import Code
from anypod_gateway import answers, groups
from anypod_gateway.calls import Call
from anypod_gateway.executions import ExecutionAnswer, ExecutionRequest
from anypod_gateway.failures import problem_of
from anypod_gateway.handlers.keyed import digest_of, kept_failure
from anypod_gateway.once import Keyed
from anypod_gateway.services import Pool, Services

NOT_YET = frozenset({"queue-full", "no-worker"})
"""Nothing ran, and a little later it may."""
FIRST_PAUSE = 0.05
LAST_PAUSE = 1.0
"""Shorter than what others are told to wait: there are few of these, and they hold up the rest."""

Told = tuple[str, bytes]
"""The outcome of an item, and its line after the index."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Wanted:
    """What each item is a run of."""

    program: str
    revision: str
    code: Callable[[], Awaitable[Code]]
    idempotent: bool
    timeout: float
    logs: bool
    session: str | None
    lm: LmChoice | None
    """What the batch says, over what its session says."""
    asked_lm: LmChoice | None
    """What the batch says itself."""
    shows_replies: bool
    concurrency: int
    """As the program says."""
    kind: str
    """Of the program."""
    key: str
    """Digest of the batch's; empty without one."""


class Items:
    def __init__(self, services: Services, pool: Pool, call: Call, wanted: Wanted) -> None:
        self.outcomes: Counter[str] = Counter()
        """``ok``, or a problem's type."""
        self.replayed = 0
        self._services = services
        self._pool = pool
        self._call = call
        self._wanted = wanted
        self._asked: list[object] = [wanted.session, wanted.logs, "item"]
        if wanted.asked_lm is not None:
            self._asked.append(wanted.asked_lm)

    @property
    def concurrency(self) -> int:
        """Of the program, in its pool as that is now."""
        return groups.allowed(self._wanted.concurrency, self._pool.spec)

    async def answer(self, index: int, line: bytes | None) -> bytes:
        """The line that tells how the item went."""
        try:
            inputs = self._inputs(line)
            run = self._once if self._wanted.key else self._plain
            outcome, told = await run(index, inputs)
        except Exception as failure:  # noqa: BLE001 - every failure is told, and logged there
            aside = Call()
            aside.route = self._call.route
            problem = problem_of(failure, aside)
            outcome, told = problem.type, b'"problem":' + _encode(problem) + b"}"
        self.outcomes[outcome] += 1
        self._services.metrics.item(self._pool.name, outcome)
        return b'{"index":%d,' % index + told + b"\n"

    def _inputs(self, line: bytes | None) -> bytes:
        if line is None:
            limit = self._pool.spec.limits.body_bytes
            raise error("too-large", f"an item may have {limit} bytes", limit=limit)
        try:
            return executions.parse_inputs(line)
        except InvalidRequest as invalid:
            raise error("bad-request", f"the line is no item: {invalid}") from None

    async def _plain(self, _: int, inputs: bytes) -> Told:
        answer = await self._run(ids.new_execution_id(), inputs)
        return "ok", _rest(answers.run_body(answer))

    async def _once(self, index: int, inputs: bytes) -> Told:
        wanted, execution = self._wanted, ids.new_execution_id()

        async def performed() -> Answer:
            try:
                answer = await self._run(execution, inputs)
            except AnyPodError as failure:
                return kept_failure(failure)
            return Answer(200, body=answers.run_body(answer).decode())

        content = sha256(inputs).hexdigest()
        keyed = Keyed(
            digest=digest_of([wanted.key, wanted.revision, index, content]),
            fingerprint=digest_of(self._asked),
            execution=execution,
            idempotent=wanted.idempotent,
            deadline=asyncio.get_running_loop().time() + wanted.timeout,
        )
        answer, replayed = await self._pool.once.run(keyed, performed)
        self.replayed += replayed
        return _told(answer)

    async def _run(self, execution: str, inputs: bytes) -> ExecutionAnswer:
        """Its time begins when the batch's turn has come."""
        services, pool, wanted = self._services, self._pool, self._wanted
        async with self._place():
            request = ExecutionRequest(
                execution=execution,
                program=wanted.program,
                revision=wanted.revision,
                code=wanted.code,
                inputs=inputs,
                deadline=asyncio.get_running_loop().time() + wanted.timeout,
                idempotent=wanted.idempotent,
                logs=wanted.logs,
                session=wanted.session,
                lm=wanted.lm,
                shows_replies=wanted.shows_replies,
                concurrency=wanted.concurrency,
                kind=wanted.kind,
            )
            with services.running(pool):
                answer = await self._placed(request)
        info = answer.info
        services.metrics.execution(pool.name, info.queue_seconds, info.run_seconds)
        return answer

    async def _placed(self, request: ExecutionRequest) -> ExecutionAnswer:
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._pool.runner.run(request)
            except AnyPodError as failure:
                if not _may_wait(failure, request):
                    raise
            with self._refused():
                await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    # A session's items are run by its own executor, one after another. What they wait for, or are
    # refused by, is theirs alone, and holds no other batch up.

    def _place(self) -> AbstractAsyncContextManager[None]:
        if self._wanted.session is not None:
            return nullcontext()
        return self._pool.share.place(self.concurrency)

    def _refused(self) -> AbstractContextManager[None]:
        return self._pool.share.refused() if self._wanted.session is None else nullcontext()


def _may_wait(failure: AnyPodError, request: ExecutionRequest) -> bool:
    now = asyncio.get_running_loop().time()
    return failure.type in NOT_YET and now + LAST_PAUSE < request.deadline


def _told(answer: Answer) -> Told:
    if answer.body is None:
        raise error("answer-not-kept", "it ran, but its answer was too large to be kept")
    body = answer.body.encode()
    if answer.status == 200:
        return "ok", _rest(body)
    return answers.decode_problem(body).type, b'"problem":' + body + b"}"


def _rest(body: bytes) -> bytes:
    """An answer without its brace, in one line."""
    # Between JSON's values a line end is only space; within one there is none.
    return body[1:].replace(b"\r", b" ").replace(b"\n", b" ")
