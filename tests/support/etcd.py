"""A real etcd for tests: started on loopback ports, killed, frozen and started again at will."""

import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port

_START_SECONDS = 30.0


def etcd_binary() -> str:
    """Raises RuntimeError that says what to install: a test must not pass for want of etcd."""
    found = shutil.which("etcd")
    if found is None:
        raise RuntimeError("no etcd on PATH; install it: apt-get install etcd-server")
    return found


class EtcdServer:
    """One server of one member. The same ports and data survive ``kill`` and ``start``."""

    scheme = "http"

    def __init__(self, directory: Path) -> None:
        self._binary = etcd_binary()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._peer_port = 0
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"etcd://{self.endpoint}"

    @property
    def log(self) -> str:
        return (self._directory / "log").read_text(errors="replace")

    def start(self) -> None:
        """Returns when the server answers."""
        if not self.port:
            self.port, self._peer_port = free_port(), free_port()
        self._spawn()
        self._wait_until_healthy()

    def kill(self) -> None:
        """kill -9, also when frozen."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(timeout=10)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _spawn(self) -> None:
        assert self._process is None
        client = f"{self.scheme}://{self.endpoint}"
        peer = f"http://127.0.0.1:{self._peer_port}"
        arguments = {
            "name": "test",
            "data-dir": str(self._directory / "data"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"test={peer}",
            # Shorter than the defaults: leases of one second become possible.
            "heartbeat-interval": "20",
            "election-timeout": "200",
            **self.more_options(),
        }
        command = [self._binary, *(f"--{name}={value}" for name, value in arguments.items())]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={}
            )

    def more_options(self) -> dict[str, str]:
        return {}

    def _wait_until_healthy(self) -> None:
        until = time.monotonic() + _START_SECONDS
        while not self._healthy():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"etcd did not start:\n{self.log[-2000:]}")
            time.sleep(0.02)

    def _healthy(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *self.more_handlers())
        try:
            with opener.open(f"{self.scheme}://{self.endpoint}/health", timeout=2) as answer:
                return b'"true"' in answer.read()
        except (OSError, urllib.error.URLError):
            return False

    def more_handlers(self) -> list[urllib.request.BaseHandler]:
        """Of requests to it."""
        return []


@contextmanager
def running_etcd(directory: Path) -> Iterator[EtcdServer]:
    """A started server with its data in ``directory``; killed at the end."""
    server = EtcdServer(directory)
    server.start()
    try:
        yield server
    finally:
        server.kill()
