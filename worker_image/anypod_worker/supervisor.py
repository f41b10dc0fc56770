"""The supervisor: owns a worker's processes from the first fork to the last kill.

It never runs user code and never waits on its loop's thread, so one turn of its loop is short
whatever programs do.
"""

import asyncio
import contextlib
import gc
import hmac
import logging
import os
import signal
import socket
import time
from typing import Any

import uvloop
from aiohttp import web

from anypod.wire import codec
from anypod_worker import boot, logs, processes
from anypod_worker.chores import Chores
from anypod_worker.dispatch import Dispatch
from anypod_worker.executors import Executor
from anypod_worker.forks import Forks
from anypod_worker.health import Health
from anypod_worker.keys import Keys
from anypod_worker.link import CLOSE_SECONDS, HEARTBEAT_SECONDS, Link
from anypod_worker.programs import ProgramCache
from anypod_worker.reserve import Reserve
from anypod_worker.scratch import Scratch, remove_abandoned
from anypod_worker.tasks import Tasks
from anypod_worker.watch import Watch

SPARE_EXECUTORS = 1
_KILL_SECONDS = 10.0
_REMOVAL_SECONDS = 2.0
"""At the end, for what programs have left on disk: a pod's goes with it, and elsewhere the next
worker removes the rest."""
_MEMORY_STEP_BYTES = 1024 * 1024
"""A change of the worker's memory that gateways are told of."""
_LAST_ANSWERS_SECONDS = 1.0
"""For the deaths of executors to become answers."""


def run(told: boot.Told, zygote: int, control: socket.socket, began: float) -> int:
    """Be the supervisor until told to stop; the exit status."""
    log = logs.Log(told.config.log_format, worker=told.config.worker, pool=told.config.pool)
    gc.collect()
    gc.freeze()
    scratch, chores = Scratch(), Chores()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(told, zygote, control, began, scratch, chores))
    finally:
        processes.kill_below_until_none(os.getpid(), _KILL_SECONDS)
        chores.add(scratch.close)
        if not chores.finish(_REMOVAL_SECONDS):
            logs.event(logging.WARNING, "files of programs are left for the next worker to remove")
        log.close()


async def _serve(
    told: boot.Told,
    zygote: int,
    control: socket.socket,
    began: float,
    scratch: Scratch,
    chores: Chores,
) -> int:
    return await Supervisor(told, zygote, control, began, scratch, chores).serve()


class Supervisor:
    def __init__(
        self,
        told: boot.Told,
        zygote: int,
        control: socket.socket,
        began: float,
        scratch: Scratch,
        chores: Chores,
    ) -> None:
        config = told.config
        self._told = told
        self._config = config
        self._began = began
        self._loop = asyncio.get_running_loop()
        self._chores = chores
        self._forks = Forks(config, zygote, control, self._state_changed)
        spares = config.executors if config.isolation == "fresh" else SPARE_EXECUTORS
        self._reserve = Reserve(self._forks, scratch, chores, spares)
        programs = ProgramCache(config.program_cache_bytes)
        self._dispatch = Dispatch(config, self._reserve, programs, Keys(told.lm_keys))
        self._watch = Watch(config.limits, self._reserve.all, self._tend)
        self._reserve.on_warm = self._warm
        self._forks.memory_was_short = self._watch.kernel_kills.explain_one
        self._stop: asyncio.Future[int] = self._loop.create_future()
        self._tasks = Tasks(lambda: self._stop_with(1))
        self._last_words = ""

    async def serve(self) -> int:
        """Until stopped; the exit status."""
        self._loop.set_exception_handler(_log_failed_callback)
        self._listen_to_signals()
        self._forks.start()
        self._chores.add(remove_abandoned)
        self._state_changed()
        try:
            runner = await self._open_port()
        except OSError as error:
            logs.event(logging.ERROR, "the worker cannot listen", error=str(error))
            return 1
        self._tasks.spawn(self._watch.run())
        self._tasks.spawn(self._give_up_when_preload_fails())
        self._dispatch.slots.start()
        try:
            return await self._stop
        finally:
            await self._end(runner)

    def _stop_with(self, status: int) -> None:
        if not self._stop.done():
            self._stop.set_result(status)

    def _tend(self) -> None:
        """Now and then, when the watch has looked at everybody."""
        if abs(self._watch.memory_bytes - self._dispatch.memory_bytes) > _MEMORY_STEP_BYTES:
            self._dispatch.memory_bytes = self._watch.memory_bytes
            self._dispatch.changed()
        self._state_changed()
        self._dispatch.slots.recycle_idle()
        self._forks.family.sweep()

    # readiness

    def _warm(self, executor: Executor) -> None:
        self._watch.begin(executor)
        self._loop.call_soon(self._state_changed)

    def _state_changed(self) -> None:
        dispatch = self._dispatch
        was = (dispatch.ready, dispatch.message)
        if not dispatch.ready and dispatch.slots.is_whole:
            dispatch.ready = True
            self._log_ready()
        elif dispatch.ready and not dispatch.slots.members() and not self._forks.ready.is_set():
            dispatch.ready = False
        waiting_for = self._forks.message or self._reserve.message or "executors start"
        dispatch.message = "" if dispatch.ready else waiting_for
        if (dispatch.ready, dispatch.message) != was:
            dispatch.tell_load()

    def _log_ready(self) -> None:
        confined = all(e.signals_confined for e in self._dispatch.slots.members())
        logs.event(
            logging.INFO,
            "worker ready",
            executors=self._config.executors,
            seconds=round(time.monotonic() - self._began, 3),
            preload_seconds=round(self._forks.preload_seconds, 3),
            signals_confined=confined,
        )

    async def _give_up_when_preload_fails(self) -> None:
        why = await asyncio.shield(self._forks.failed)
        self._last_words = why
        self._stop_with(1)

    # the port

    async def _open_port(self) -> web.AppRunner:
        app = web.Application()
        app.add_routes(Health(self._dispatch.load).routes())
        app.add_routes([web.get(codec.LINK_PATH, self._link)])
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        site: web.BaseSite
        if self._told.listener is not None:
            site = web.SockSite(runner, self._told.listener)
        else:
            site = web.TCPSite(runner, self._config.host, self._config.port)
        await site.start()
        host, port = runner.addresses[0][:2]
        logs.event(logging.INFO, "listening", host=host, port=port)
        return runner

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        limits = self._config.limits
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_SECONDS,
            max_msg_size=codec.max_message_bytes(limits.output_bytes),
            compress=False,
            timeout=CLOSE_SECONDS,
        )
        await socket.prepare(request)
        given = request.headers.get(codec.TOKEN_HEADER, "").encode()
        if hmac.compare_digest(given, self._told.token):
            untold = codec.untold_message_bytes(limits.output_bytes, limits.log_bytes)
            await Link(socket, self._dispatch, untold).serve()
        else:
            logs.event(logging.WARNING, "a gateway without the link's secret was refused")
            await socket.close(code=codec.CLOSE_UNAUTHENTICATED, message=b"wrong token")
        return socket

    # the end

    def _listen_to_signals(self) -> None:
        for number in boot.STOPS:
            self._loop.add_signal_handler(number, self._asked_to_stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, boot.STOPS)
        if self._told.parent:
            self._loop.add_signal_handler(boot.PARENT_DIED, self._parent_died)
            boot.follow_parent(self._told.parent)

    def _parent_died(self) -> None:
        if os.getppid() != self._told.parent:
            logs.event(logging.ERROR, "the parent died; the worker stops at once")
            self._stop_with(1)

    def _asked_to_stop(self) -> None:
        if self._dispatch.draining:
            self._stop_with(0)
        else:
            self._tasks.spawn(self._drain())

    async def _drain(self) -> None:
        logs.event(logging.INFO, "draining", seconds=self._config.drain_seconds)
        self._dispatch.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.drain_seconds):
                await self._dispatch.until_quiet()
        self._stop_with(0)

    async def _end(self, runner: web.AppRunner) -> None:
        self._tasks.cancel()
        self._dispatch.draining = True
        self._dispatch.stop_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_ANSWERS_SECONDS):
                await self._dispatch.until_quiet()
        links = [link.close("stopped") for link in self._dispatch.links]
        await asyncio.gather(*links, return_exceptions=True)
        self._forks.stop()
        self._reserve.close()
        self._dispatch.close()
        await runner.cleanup()
        self._forks.family.unwatch()
        logs.event(logging.INFO, "worker stopped")
        if self._last_words:
            logs.event(logging.ERROR, self._last_words)


def _log_failed_callback(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    logs.logger.error("%s", context.get("message"), exc_info=context.get("exception"))
