"""The one gateway of local mode, kept alive. Its socket is ours, so calls wait while it is away."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anypod.local import probes, processes
from anypod.local.backoff import Backoff
from anypod.local.settings import CannotStart
from anypod.local.up import Ground
from anypod.local.vitals import follow

CANNOT_START = 2
"""The gateway's exit status when it was started wrongly: trying again is no use."""


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    store: str
    pools_file: Path
    token_file: Path
    webhook_secrets: Path
    drain_seconds: float
    log_format: Literal["text", "json"]

    def argv(self, listen_fd: int) -> list[str]:
        return [
            *(sys.executable, "-P", "-m", "anypod_gateway"),
            *("--die-with-parent", str(os.getpid()), "--no-authentication"),
            *("--name", "local", "--listen-fd", str(listen_fd), "--store", self.store),
            *("--pools-file", str(self.pools_file), "--link-token-file", str(self.token_file)),
            *("--webhook-secrets", str(self.webhook_secrets)),
            *("--drain-seconds", f"{self.drain_seconds:g}", "--log-format", self.log_format),
        ]


class GatewayKeeper:
    def __init__(
        self, options: GatewayOptions, ground: Ground, on_change: Callable[[], None]
    ) -> None:
        self.pid = 0
        self.ready = False
        self.message = ""
        """Why it is not ready."""
        self._options = options
        self._listener = ground.listener
        self._stderr = ground.stderr
        self._children = ground.children
        self._console = ground.console
        self._timing = timing = ground.settings.timing
        self._on_change = on_change
        self._ready_since = 0.0
        self._has_been_ready = False
        self._backoff = Backoff(timing.first_pause, timing.longest_pause, timing.stable)

    async def run(self) -> None:
        """For ever. Raises CannotStart when the gateway says so."""
        while True:
            self._ready_since = 0.0
            why = await self._live()
            self.pid = 0
            await self._pause(why)

    async def _live(self) -> str:
        """One life; how it ended."""
        number = self._listener.fileno()
        try:
            self.pid = self._children.start(
                self._options.argv(number), keep=[number], stderr=self._stderr
            )
        except OSError as reason:
            return f"could not be started: {reason.strerror}"
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(
                follow(probe_address(self._listener), self._timing, self._note, self._wedged)
            )
            status = await self._children.ended(self.pid)
            watching.cancel()
        self._children.forget(self.pid)
        if os.waitstatus_to_exitcode(status) == CANNOT_START and not self._has_been_ready:
            raise CannotStart("the gateway cannot start; what it said above tells why")
        return processes.how_it_ended(status)

    def _wedged(self) -> None:
        self._console.say("the gateway does not answer and is killed", "warning")
        processes.send(self.pid, signal.SIGKILL)

    def _note(self, health: probes.Health) -> None:
        if (self.ready, self.message) == (health.ready, health.message):
            return
        was_ready, self.ready, self.message = self.ready, health.ready, health.message
        if self.ready and not was_ready:
            if self._has_been_ready:
                self._console.say("the gateway is ready again")
            self._has_been_ready = True
            self._ready_since = asyncio.get_running_loop().time()
        elif was_ready:
            self._console.say(f"the gateway is not ready: {health.message}", "warning")
        self._on_change()

    async def _pause(self, why: str) -> None:
        self.ready = False
        well_for = asyncio.get_running_loop().time() - self._ready_since
        pause = self._backoff.pause(well_for if self._ready_since else 0.0)
        self._console.say(f"the gateway {why}; {self._backoff.say(pause)}", "error")
        self._on_change()
        await asyncio.sleep(pause)


def probe_address(listener: socket.socket) -> tuple[str, int]:
    """Where this machine reaches a socket that may listen on every address."""
    host, port = listener.getsockname()[:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104
