"""What an executor and its descendants write to their fds 1 and 2, as the supervisor reads it."""

import asyncio
import os
import select
from collections.abc import Callable

from anypod_worker.printed import Stream

_READ = 64 * 1024
_DRAIN_READS = 32
"""At the end of a job; a pipe holds one ``_READ``, unless somebody refills it."""


class Pipes:
    """One read for each turn of the loop: who floods a pipe waits for the others' turns."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stdout: int,
        stderr: int,
        on_data: Callable[[Stream, bytes], None],
    ) -> None:
        self._loop = loop
        self._open: dict[int, Stream] = {stdout: "stdout", stderr: "stderr"}
        self._on_data = on_data
        self._poll = select.poll()
        for pipe in self._open:
            os.set_blocking(pipe, False)
            self._poll.register(pipe, select.POLLIN)

    def open(self) -> None:
        """Raises OSError; ``close`` is as good then."""
        for pipe in self._open:
            self._loop.add_reader(pipe, self._readable, pipe)

    def drain(self) -> None:
        """Read what was printed before now."""
        for _ in range(_DRAIN_READS):
            ready = self._poll.poll(0)
            if not ready:
                return
            for pipe, _events in ready:
                self._readable(pipe)

    def close(self) -> None:
        for pipe in list(self._open):
            self._close(pipe)

    def _readable(self, pipe: int) -> None:
        try:
            data = os.read(pipe, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._on_data(self._open[pipe], data)
        else:
            self._close(pipe)

    def _close(self, pipe: int) -> None:
        if self._open.pop(pipe, None) is not None:
            self._poll.unregister(pipe)
            self._loop.remove_reader(pipe)
            os.close(pipe)
