"""Sessions on this worker: each has an executor of its own, and its calls run one after another.

The worker knows of a session's durable state what the store last said: its epoch, its version and
its bytes. When the executor is lost, that knowledge is dropped too, and the next call asks for it.
After a result with a new state nothing of the session runs until the gateway has told what the
store made of it; if that gateway is lost, so is the session's executor, for only the store knows.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from functools import partial

from anypod.wire.config import WorkerConfig
from anypod.wire.messages import EndSession, Execute, SessionRef, Verdict
from anypod_worker import failures, frames, logs
from anypod_worker.execution import Execution, RefusalReason
from anypod_worker.executors import Death, Executor
from anypod_worker.keys import NO_KEYS, Keys
from anypod_worker.programs import ProgramCache
from anypod_worker.reserve import Reserve
from anypod_worker.work import Gateway, Work

VERDICT_SECONDS = 60.0


class Session:
    def __init__(self, key: str, epoch: int, sessions: "Sessions") -> None:
        self.key = key
        self.epoch = epoch
        self.executor: Executor | None = None
        self.current: Execution | None = None
        self.queue: deque[Execution] = deque()
        self.owing: Gateway | None = None
        """Who still has to say what the store made of ``_offered``."""
        self.dropped = False
        self._sessions = sessions
        self._version: int | None = None
        self._state = b"{}"
        self._offered = b""
        self._executor_has_state = False
        self._verdict_timer: asyncio.TimerHandle | None = None

    # calls

    def add(self, execution: Execution) -> None:
        self.queue.append(execution)
        self.pump()

    def pump(self) -> None:
        """Start the next call, if nothing runs and nothing is owed."""
        while self.queue and self.current is None and self.owing is None and not self.dropped:
            execution = self.queue.popleft()
            if not execution.ended:
                self.current = execution
                execution.restart = partial(self._restart, execution)
                execution.restart()

    def _restart(self, execution: Execution) -> None:
        self._sessions.prepare(execution, self._prepare(execution))

    async def _prepare(self, execution: Execution) -> None:
        programs = self._sessions.programs
        code = programs.get(execution.message.revision)
        if code is None:
            code = await execution.ask_program()
        # An executor that ends while another is waited for takes what was known along.
        while self._version is None or self.executor is None or not self.executor.is_idle:
            self._executor_has_state = False
            if self._version is None:
                told = await execution.ask_state()
                self._version, self._state = told.version, told.state
            if self.executor is None or not self.executor.is_idle:
                self.executor = await self._sessions.reserve.take(self)
        execution.base = self._version
        state = None if self._executor_has_state else self._state
        execution.start(self.executor, code, state)

    def ended(self, execution: Execution, done: frames.Done | None) -> None:
        """A call's end; ``done`` if the executor's answer counts."""
        if self.current is not execution:
            return
        self.current = None
        succeeded = done is not None and done.failure is None
        if execution.started:
            self._executor_has_state = succeeded
        if succeeded and done is not None and done.state is not None and not self.dropped:
            self._offered = done.state
            self.owing = execution.gateway
            self._verdict_timer = asyncio.get_running_loop().call_later(
                VERDICT_SECONDS, self._sessions.drop, self, failures.SESSION_MOVED
            )
        self._sessions.on_change()
        asyncio.get_running_loop().call_soon(self.pump)

    def decided(self, verdict: Verdict) -> None:
        if self.owing is None or verdict.epoch != self.epoch:
            return
        self.stop_waiting()
        if verdict.committed:
            self._version, self._state = verdict.version, self._offered
            self.pump()
        else:
            self._sessions.drop(self, failures.SESSION_MOVED)

    def stop_waiting(self) -> None:
        self.owing = None
        if self._verdict_timer is not None:
            self._verdict_timer.cancel()

    # as the owner of its executor

    def warm(self, executor: Executor) -> None:
        raise AssertionError("an executor is warm before it has a session")

    def free(self, executor: Executor) -> None:
        if self.dropped or executor is not self.executor:
            executor.kill(failures.SESSION_ENDED)
        elif executor.replace:
            executor.kill(executor.replace)

    def gone(self, executor: Executor, death: Death) -> None:
        if executor is self.executor:
            self.executor = None
            self._version = None
            if not self.dropped:
                self._sessions.lost_executor(executor, death)
        self._sessions.reserve.forget(executor)


class Sessions:
    def __init__(
        self,
        config: WorkerConfig,
        reserve: Reserve,
        programs: ProgramCache,
        prepare: Callable[[Work, Coroutine[None, None, None]], None],
        on_change: Callable[[], None],
        keys: Keys = NO_KEYS,
    ) -> None:
        self._keys = keys
        self.restarts: Counter[str] = Counter()
        self.reserve = reserve
        self.programs = programs
        self.prepare = prepare
        self.on_change = on_change
        self._config = config
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def busy(self) -> int:
        return sum(session.current is not None for session in self._sessions.values())

    def executors(self) -> list[Executor]:
        return [s.executor for s in self._sessions.values() if s.executor is not None]

    def refusal(self, ref: SessionRef) -> RefusalReason | None:
        """Why a call cannot be taken; None when it can."""
        session = self._sessions.get(ref.key)
        if session is None or ref.epoch > session.epoch:
            full = session is None and len(self._sessions) >= self._config.max_sessions
            return "sessions-full" if full else None
        if ref.epoch < session.epoch:
            return "stale-epoch"
        if ref.on_busy == "fail" and (session.current is not None or session.queue):
            return "session-busy"
        if len(session.queue) >= self._config.session_queue:
            return "session-queue-full"
        return None

    def accept(self, gateway: Gateway, message: Execute) -> Execution:
        """Take a call that ``refusal`` has nothing against."""
        ref = message.session
        assert ref is not None
        session = self._sessions.get(ref.key)
        if session is not None and ref.epoch > session.epoch:
            self.drop(session, failures.SESSION_MOVED)
            session = None
        if session is None:
            session = self._sessions[ref.key] = Session(ref.key, ref.epoch, self)
        execution = Execution(gateway, message, self._config.limits, session.ended, self._keys)
        session.add(execution)
        self.on_change()
        return execution

    def decided(self, verdict: Verdict) -> None:
        session = self._sessions.get(verdict.session)
        if session is not None:
            session.decided(verdict)

    def end(self, message: EndSession) -> None:
        session = self._sessions.get(message.session)
        if session is not None and session.epoch <= message.epoch:
            self.drop(session, failures.SESSION_ENDED)

    def drop(self, session: Session, why: str) -> None:
        """Forget it, with its executor; what waits or runs of it gets ``why``."""
        if session.dropped:
            return
        session.dropped = True
        session.stop_waiting()
        if self._sessions.get(session.key) is session:
            del self._sessions[session.key]
        for execution in list(session.queue):
            execution.refuse("stale-epoch")
        if session.current is not None:
            session.current.stop_at_once(why)
        if session.executor is not None:
            session.executor.kill(why)
        self.on_change()

    def link_lost(self, gateway: Gateway) -> None:
        for session in list(self._sessions.values()):
            if session.owing is gateway:
                logs.event(logging.INFO, "a session's gateway left owing a verdict")
                self.drop(session, failures.SESSION_MOVED)

    def lost_executor(self, executor: Executor, death: Death) -> None:
        reason = death.reason or ("exited" if death.signal is None else "crashed")
        self.restarts[reason] += 1
        logs.event(
            logging.INFO, "a session's executor is gone", executor=executor.number, reason=reason
        )
        self.on_change()

    def close(self) -> None:
        for session in list(self._sessions.values()):
            self.drop(session, failures.STOPPED)
