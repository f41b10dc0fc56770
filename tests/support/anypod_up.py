"""``anypod up`` as a person would start it, for tests that are its users."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.ports import free_port

from anypod.client import AnyPodError, Client, NoAnswer

START_SECONDS = 60.0
STOP_SECONDS = 40.0


@contextlib.contextmanager
def anypod_up(folder: Path, *arguments: str, workers: int) -> Iterator[tuple[str, int]]:
    """The URL of a pool whose workers are all ready, and the pid of ``anypod up``.

    Stopped by SIGTERM; fails if that does not end it with exit code 0.
    """
    port = free_port()
    command = [str(Path(sys.executable).with_name("anypod")), "up", "--port", str(port)]
    command += ["--dir", str(folder / ".anypod"), *arguments]
    log = folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url, workers, process, log)
        yield url, process.pid
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_until_ready(url: str, workers: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    with Client(url, timeout=5) as client:
        while ready_workers(client) != workers:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)


def ready_workers(client: Client) -> int:
    try:
        return sum(worker.ready for worker in client.workers.list())
    except (AnyPodError, NoAnswer):
        return 0
