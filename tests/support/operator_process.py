"""A real operator process for tests: started against a real API, killed at will."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.support.kubernetes_api import KubernetesApi
from tests.support.ports import free_port

START_SECONDS = 90.0
POOL_URL = "http://gateway.anypod:8700/v1/pools/{pool}"
LINK_KEY = "the key of all link tokens"
WORKER_IMAGE = "registry.example/anypod-worker:test"


class OperatorProcess:
    def __init__(
        self,
        api: KubernetesApi,
        directory: Path,
        *options: str,
        url: str = "",
        under: Sequence[str] = (),
    ) -> None:
        """``url``: another way to the API than the straight one; ``under``: a command before it."""
        self.api = api
        self._options = options
        self._under = under
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = directory
        self._url = url
        self.port = 0
        self.log_file = directory / "operator.log"
        directory.mkdir(parents=True, exist_ok=True)
        self._key_file = directory / "key"
        self._key_file.write_text(LINK_KEY)

    def start(self, *, wait: bool = True) -> None:
        self.port = free_port()
        command = [
            *(*self._under, sys.executable, "-m", "anypod_operator"),
            *("--worker-image", WORKER_IMAGE, "--pool-url", POOL_URL),
            *("--link-key-file", str(self._key_file)),
            *("--listen", f"127.0.0.1:{self.port}", "--log-format", "text"),
            *self._options,
        ]
        # Nothing of the environment but the way to the API; no proxy for loopback.
        environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(self.api.kubeconfig("operator", self._directory, self._url)),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        while self.get("/readyz")[0] != 200:
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the operator did not start:\n{self.log[-4000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9; waits until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        return self._end(signal.SIGTERM)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def get(self, path: str) -> tuple[int, str]:
        """Status and text; 0 when nobody answers."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
        return process.wait(timeout=60)
