"""Runs executions on the workers of one pool: the ``executions.Runner`` of that pool.

The way of a call whose worker is free has no task, no timer and no lock in it: a worker is chosen,
the message is put on its link, and the link's reader resolves the one future that is awaited.
"""

from collections.abc import AsyncGenerator, Callable

from anypod.api.problems import AnyPodError
from anypod.wire.messages import Checked, Chunk, Code, Log, Result, Usage
from anypod_gateway.admission import Admission, Line
from anypod_gateway.attempts import Attempt, StreamAttempt
from anypod_gateway.courses import Checking, Course, Run
from anypod_gateway.errands import Errands
from anypod_gateway.executions import ExecutionAnswer, ExecutionRequest, StreamEvent
from anypod_gateway.groups import Share
from anypod_gateway.session_runs import SessionRun
from anypod_gateway.sessions import Sessions


class Dispatcher:
    def __init__(
        self,
        admission: Admission,
        line: Line,
        sessions: Sessions,
        errands: Errands,
        *,
        grace: Callable[[], float],
        on_retry: Callable[[str], None],
        on_usage: Callable[[Usage], None] = lambda _: None,
        allowed: Callable[[int], int] = lambda concurrency: concurrency,
        lacks: Callable[[str], str] = lambda _: "",
    ) -> None:
        """``line`` gives workers with a free executor; ``grace`` is the pool's between an
        interrupt and the kill; ``on_retry`` hears why an execution is placed again, ``on_usage``
        what one asked of an LM, also when nobody waits for its end any more; ``allowed`` says
        what of a program's concurrency the pool allows, ``lacks`` why no worker can run a kind of
        programs."""
        self._admission = admission
        self._line = line
        self._sessions = sessions
        self._errands = errands
        self._grace = grace
        self._on_retry = on_retry
        self._on_usage = on_usage
        self._allowed = allowed
        self._lacks = lacks

    async def run(self, request: ExecutionRequest) -> ExecutionAnswer:
        course = self._course(request, stream=False)
        while True:
            attempt = await self._begin(course)
            try:
                end = await attempt.future
            finally:
                attempt.leave()
            self._admission.served += 1
            if isinstance(end, Result) and end.failure is None:
                return course.answer(end)
            self._on_retry(course.retry(end))

    async def stream(self, request: ExecutionRequest) -> AsyncGenerator[StreamEvent, None]:
        course = self._course(request, stream=True)
        while True:
            attempt = await self._begin(course, stream=True)
            assert isinstance(attempt, StreamAttempt)
            try:
                while isinstance(end := await attempt.next(), Chunk | Log):
                    course.has_told = True
                    yield end
            finally:
                attempt.leave()
            self._admission.served += 1
            if isinstance(end, Result) and end.failure is None:
                yield course.answer(end)
                return
            self._on_retry(course.retry(end))

    async def check(self, revision: str, code: Code, deadline: float) -> Checked:
        course = Checking(revision, code, deadline, grace=self._grace(), errands=self._errands)
        while True:
            attempt = await self._place(course)
            try:
                end = await attempt.future
            finally:
                attempt.leave()
            checked = course.checked(end)
            if checked is not None:
                return checked
            self._on_retry(course.retry(end))

    def _course(self, request: ExecutionRequest, *, stream: bool) -> Run:
        if request.session is not None:
            course: Run = self._sessions.course(request, request.session, stream=stream)
        else:
            course = Run(request, stream=stream, grace=self._grace(), errands=self._errands)
            if request.concurrency > 1:
                course.share = self._share(request)
        course.on_usage = self._on_usage
        return course

    def _share(self, request: ExecutionRequest) -> Share | None:
        """By what its pool allows now, whenever it was asked for."""
        concurrency = self._allowed(request.concurrency)
        return Share(request.revision, concurrency) if concurrency > 1 else None

    async def _begin(self, course: Run, *, stream: bool = False) -> Attempt:
        if isinstance(course, SessionRun):
            return await self._sessions.begin(course, stream=stream)
        return await self._place(course, stream=stream)

    async def _place(self, course: Course, *, stream: bool = False) -> Attempt:
        worker = self._line.at_once(course.avoid, course.share, course.kind)
        if worker is None:
            why = self._lacks(course.kind)
            if why:
                raise course.unknown_kind(why)
            try:
                worker = await self._line.wait(
                    course.came,
                    course.deadline,
                    course.avoid,
                    course.share,
                    course.kind,
                    again=course.placed > 0,
                )
            except AnyPodError as failure:
                raise course.named(failure) from None
        return course.begin(worker, stream=stream)
