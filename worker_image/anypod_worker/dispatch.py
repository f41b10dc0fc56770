"""What gateways ask meets the executors that can do it."""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine

import anypod
from anypod.wire import codec
from anypod.wire.config import WorkerConfig
from anypod.wire.messages import (
    AHEAD_PER_EXECUTOR,
    Check,
    Draining,
    EndSession,
    Execute,
    Failure,
    Load,
    Program,
    Refused,
    StoreSeen,
    Verdict,
    WorkerHello,
)
from anypod_worker import abilities, failures, logs
from anypod_worker.backlog import Backlog
from anypod_worker.execution import Execution, RefusalReason
from anypod_worker.groups import Groups
from anypod_worker.hearsay import Hearsay
from anypod_worker.keys import NO_KEYS, Keys
from anypod_worker.link import Link
from anypod_worker.programs import ProgramCache
from anypod_worker.reserve import Reserve
from anypod_worker.sessions import Sessions
from anypod_worker.slots import Claim, Slots
from anypod_worker.work import Checking, Work

LOAD_SECONDS = 0.05


class Dispatch:
    """Serves links; asked for its ``load`` by them and by probes."""

    def __init__(
        self,
        config: WorkerConfig,
        reserve: Reserve,
        programs: ProgramCache,
        keys: Keys = NO_KEYS,
    ) -> None:
        ahead = AHEAD_PER_EXECUTOR * config.executors if config.isolation == "shared" else 0
        self._backlog = Backlog(ahead)
        self.slots = Slots(config, reserve, self.changed, self._backlog.take)
        self.sessions = Sessions(config, reserve, programs, self.prepare, self.changed, keys)
        self.groups = Groups(config.limits, self.slots, programs, self.prepare, self.changed, keys)
        self.draining = False
        self.ready = False
        self.message = "starting"
        self.memory_bytes = 0
        self.links: set[Link] = set()
        self._hearsay = Hearsay()
        self._config = config
        self._keys = keys
        self._programs = programs
        self._instance = secrets.token_hex(8)
        self._loop = asyncio.get_running_loop()
        self._load_timer: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()

    # links

    def hello(self) -> WorkerHello:
        config = self._config
        return WorkerHello(
            worker=config.worker,
            instance=self._instance,
            pool=config.pool,
            version=anypod.__version__,
            executors=config.executors,
            max_sessions=config.max_sessions,
            max_body_bytes=config.limits.output_bytes,
            groups=True,
            kinds=abilities.KINDS,
            hearsay=True,
            max_message_bytes=codec.max_message_bytes(config.limits.output_bytes),
        )

    def welcome(self, link: Link) -> None:
        self.links.add(link)
        link.send(self.load())
        if self.draining:
            link.send(Draining())
        logs.event(logging.INFO, "gateway linked", gateway=link.gateway)

    def farewell(self, link: Link) -> None:
        if link in self.links:
            self.links.remove(link)
            logs.event(logging.INFO, "gateway unlinked", gateway=link.gateway)
        self.sessions.link_lost(link)

    def load(self) -> Load:
        restarts: Counter[str] = self.slots.restarts + self.sessions.restarts
        return Load(
            ready=self.ready,
            draining=self.draining,
            busy=self.slots.busy,
            idle=self.slots.idle,
            sessions=len(self.sessions),
            busy_sessions=self.sessions.busy,
            restarts=dict(restarts),
            memory_bytes=self.memory_bytes,
            message=self.message,
            running=self.slots.running,
        )

    def changed(self) -> None:
        """Tell gateways soon."""
        if self._load_timer is None and self.links:
            self._load_timer = self._loop.call_later(LOAD_SECONDS, self.tell_load)

    def tell_load(self) -> None:
        """Tell gateways now."""
        if self._load_timer is not None:
            self._load_timer.cancel()
            self._load_timer = None
        load = self.load()
        for link in self.links:
            link.send(load)

    def drain(self) -> None:
        """Refuse what comes from here on."""
        self.draining = True
        for link in self.links:
            link.send(Draining())
        self.tell_load()

    async def until_quiet(self) -> None:
        """Until no link has work."""
        while any(link.is_working for link in self.links):
            self._ended.clear()
            await self._ended.wait()

    def ended(self) -> None:
        """Some work has ended."""
        if self.draining:
            self._ended.set()

    def stop_all(self) -> None:
        for link in self.links:
            link.stop_all(failures.STOPPED)

    def close(self) -> None:
        self.slots.close()
        self.sessions.close()

    # executions

    def execute(self, link: Link, message: Execute) -> Work | None:
        refusal = self._refusal(link, message)
        if refusal is not None:
            link.send(Refused(message.id, refusal))
            return None
        if message.session is not None:
            return self.sessions.accept(link, message)
        if message.group:
            return self.groups.accept(link, message)
        execution = Execution(link, message, self._config.limits, keys=self._keys)
        execution.restart = lambda: self._prepare_execution(execution)
        code = self._programs.get(message.revision)
        executor = self.slots.take_at_once(message.revision) if code is not None else None
        if code is not None and executor is not None:
            execution.start(executor, code)
        elif code is not None and self._backlog.has_room and not self.slots.expects_one:
            self._backlog.add(execution, code)
        else:
            execution.restart()
        self.changed()
        return execution

    def _refusal(self, link: Link, message: Execute) -> RefusalReason | None:
        if self.draining:
            return "draining"
        if not self.ready:
            return "not-ready"
        if message.session is not None:
            return self.sessions.refusal(message.session)
        if message.group:
            return self.groups.refusal(link, message.group)
        if self.slots.idle or self.slots.expects_one:
            return None
        can_wait = self._backlog.has_room and message.revision in self._programs
        return None if can_wait else "full"

    def _prepare_execution(self, execution: Execution) -> None:
        claim = self.slots.claim(execution.message.revision)
        self.prepare(execution, self._start_execution(execution, claim), claim.release)

    async def _start_execution(self, execution: Execution, claim: Claim) -> None:
        code = self._programs.get(execution.message.revision)
        if code is None:
            code = await execution.ask_program()
        execution.start(await claim.executor(), code)
        claim.used()

    def prepare(
        self,
        work: Work,
        preparation: Coroutine[None, None, None],
        at_end: Callable[[], None] | None = None,
    ) -> None:
        """Run what must be awaited before it can start; ``at_end`` is called even if that never
        begins, because it was stopped at once."""
        task = self._loop.create_task(preparation)
        work.preparing = task
        task.add_done_callback(lambda task: self._prepared(work, task))
        if at_end is not None:
            task.add_done_callback(lambda _: at_end())

    def _prepared(self, work: Work, task: "asyncio.Task[None]") -> None:
        """A preparation that failed fails its execution, and is seen."""
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            logs.logger.error("an execution could not be prepared", exc_info=error)
            work.fail(Failure(type="internal-error", detail="the worker failed to prepare it"))

    # checks

    def check(self, link: Link, message: Check) -> Work | None:
        refusal: RefusalReason | None = None
        if self.draining:
            refusal = "draining"
        elif not self.ready:
            refusal = "not-ready"
        elif not self.slots.can_queue:
            refusal = "full"
        if refusal is not None:
            link.send(Refused(message.id, refusal))
            return None
        self._programs.put(message.revision, message.code)
        checking = Checking(link, message, self._config.limits)
        checking.restart = lambda: self._prepare_check(checking)
        checking.restart()
        return checking

    def _prepare_check(self, checking: Checking) -> None:
        claim = self.slots.claim(checking.message.revision)
        self.prepare(checking, self._start_check(checking, claim), claim.release)

    async def _start_check(self, checking: Checking, claim: Claim) -> None:
        checking.start(await claim.executor())
        claim.used()

    # what else a gateway says

    def program(self, message: Program) -> None:
        self._programs.put(message.revision, message.code)

    def verdict(self, message: Verdict) -> None:
        self.sessions.decided(message)

    def end_session(self, message: EndSession) -> None:
        self.sessions.end(message)

    def store_seen(self, link: Link, message: StoreSeen) -> None:
        link.send(self._hearsay.heard(link.gateway, message))
