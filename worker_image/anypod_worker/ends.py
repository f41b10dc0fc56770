"""What a supervisor and one executor share: a socket pair and two pipes, each with two ends."""

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Ends:
    """The supervisor's."""

    socket: socket.socket
    stdout: int
    stderr: int

    def close(self) -> None:
        """When there is no executor for them."""
        self.socket.close()
        os.close(self.stdout)
        os.close(self.stderr)


@contextlib.contextmanager
def pairs() -> Iterator[tuple[Ends, list[int]]]:
    """The supervisor's, which whoever asks owns, and the executor's, which are closed afterwards.

    Raises OSError when they cannot all be made, and then none is.
    """
    with contextlib.ExitStack() as theirs:
        with contextlib.ExitStack() as ours:
            here, there = socket.socketpair()
            ours.callback(here.close)
            theirs.callback(there.close)
            out_read, out_write = _pipe(ours, theirs)
            err_read, err_write = _pipe(ours, theirs)
            ours.pop_all()
        yield Ends(here, out_read, err_read), [there.fileno(), out_write, err_write]


def _pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    ours.callback(os.close, read)
    theirs.callback(os.close, write)
    return read, write
