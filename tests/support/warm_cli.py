"""``anypod`` for tests that call it often: each call is a process of its own, but a warm one.

It is forked from a process that has imported the command line already, which is most of what a
short command costs. What such a process has of its caller is as if it had been started anew:
arguments, directory, environment, files and exit code. That ``anypod`` also starts cold, others
show: the README's tests, and those of local mode.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.warm_processes import fork_server

_IMPORTED = ("anypod.cli.app", "anypod.cli.run", "anypod.client.sync", "anypod.api.jobs")
_MAX_BYTES = 128 * 1024


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class WarmCli:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def run(
        self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], stdin: str
    ) -> Result:
        """One call, to its end. Raises TimeoutError, after which no call is made any more."""
        told = {"arguments": arguments, "cwd": str(cwd), "environment": dict(environment)}
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(stdin.encode())
            given.seek(0)
            files = [each.fileno() for each in (given, out, err)]
            socket.send_fds(self._connection, [json.dumps(told).encode()], files)
            try:
                code = int(self._connection.recv(_MAX_BYTES))
            except TimeoutError:
                self._connection.close()
                raise
            out.seek(0)
            err.seek(0)
            return Result(code, out.read().decode(), err.read().decode())


@contextmanager
def warm_cli(seconds: float) -> Iterator[WarmCli]:
    """``seconds`` that any call may take."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(seconds)
    with ours:
        with theirs:
            server = fork_server(serve, theirs)
        try:
            yield WarmCli(ours)
        finally:
            os.killpg(server.pid, signal.SIGKILL)  # and a command that takes too long
            server.wait()


def serve(number: int) -> None:
    """Until nobody asks any more. In a forked process it ends as the command does."""
    connection = socket.socket(fileno=number)
    for module in _IMPORTED:
        importlib.import_module(module)
    gc.freeze()
    while True:
        packet, files, _, _ = socket.recv_fds(connection, _MAX_BYTES, 3)
        if not packet:
            return
        child = os.fork()
        if child == 0:
            connection.close()
            _be_the_command(json.loads(packet), files)
        for each in files:
            os.close(each)
        _, status = os.waitpid(child, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def _be_the_command(told: dict[str, Any], files: Sequence[int]) -> None:
    from anypod.cli import main

    for number, each in enumerate(files):
        os.dup2(each, number)
        os.close(each)
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["environment"])
    sys.argv = ["anypod", *told["arguments"]]
    sys.exit(main())
