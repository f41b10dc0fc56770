"""What went on in a namespace of a cluster, written down while it goes on.

Events, and the log of every container, also of those that are gone when a test has failed: a
restarted worker's, a deleted pod's. kubectl follows them, as it can enter every user's cluster.
"""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tests.cluster import Cluster, KubectlError, commands
from tests.cluster.kubectl import find_kubectl

LINES = 200
_PAUSE = 0.5
_KUBECTL_SECONDS = 20.0
_ENOUGH = 1 << 16
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_OBJECTS = ("get", "wp,deploy,pods,svc", "-owide")

Object = dict[str, Any]


@dataclass
class Follower:
    """A kubectl that writes one container's log to a file, until that container ends."""

    process: subprocess.Popen[bytes]
    began: float


class Happenings:
    """Of one namespace, for as long as the block; ``told`` at any time in it, and afterwards."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self._cluster = cluster
        self._within = f"--namespace={namespace}"
        self._namespace = namespace
        self._folder = folder
        self._stopped = threading.Event()
        self._watching: dict[str, subprocess.Popen[bytes]] = {}
        self._followers: dict[str, Follower] = {}
        self._objects = ""
        self._threads = [
            threading.Thread(target=self._keep, args=(what,), daemon=True)
            for what in (self._write_events, self._follow_pods)
        ]

    def __enter__(self) -> "Happenings":
        self._folder.mkdir(parents=True, exist_ok=True)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:  # they may be gone when it is told
            self._objects = self._said(*_OBJECTS)
        self._stopped.set()
        for process in list(self._watching.values()):
            process.kill()
        for thread in self._threads:
            thread.join(_KUBECTL_SECONDS)
        for follower in self._followers.values():
            follower.process.kill()
            follower.process.wait(_KUBECTL_SECONDS)

    def told(self) -> list[tuple[str, str]]:
        """Titles and texts, for a test's report. Never raises: that is of another failure."""
        objects = self._objects or self._said(*_OBJECTS)
        found = [(f"objects of {self._namespace}", objects)]
        for file in sorted(self._folder.iterdir()):
            title = "events" if file.name == "events" else f"log of {file.name}"
            found.append((f"{title} of {self._namespace}", _end_of(file)))
        return found

    # in threads of their own

    def _keep(self, what: Any) -> None:
        """A watch ends when the API server does, or takes a node along."""
        while not self._stopped.is_set():
            with suppress(OSError, ValueError):
                what()
            self._stopped.wait(_PAUSE)

    def _write_events(self) -> None:
        with (
            (self._folder / "events").open("ab") as file,
            self._watch("events", file, "events", "--watch") as process,
        ):
            process.wait()

    def _follow_pods(self) -> None:
        watch = ("get", "pods", "--watch", "--output=json")
        with self._watch("pods", subprocess.PIPE, *watch) as process:
            assert process.stdout is not None
            for pod in _documents(process.stdout):
                for each in _STATUSES:
                    for status in pod.get("status", {}).get(each, ()):
                        self._look_at(pod["metadata"]["name"], status)

    def _look_at(self, pod: str, status: Object) -> None:
        ended = status.get("lastState", {}).get("terminated", {}).get("containerID")
        if ended and ended not in self._followers:  # before it was seen
            self._follow(pod, status["name"], ended, "--previous")
        state = status.get("state", {})
        present = status.get("containerID") if "waiting" not in state else None
        if not present:
            return
        known = self._followers.get(present)
        if known is None:
            self._follow(pod, status["name"], present, "--follow")
        elif "running" in state and known.process.poll() is not None:  # cut off
            since = f"--since={time.monotonic() - known.began + 1:.0f}s"
            self._follow(pod, status["name"], present, "--follow", since)

    def _follow(self, pod: str, container: str, identity: str, *options: str) -> None:
        file = self._folder / f"{pod} {container} {identity.rpartition('/')[2][:8]}"
        with file.open("ab") as output:
            process = self._start(output, "logs", pod, f"--container={container}", *options)
        self._followers[identity] = Follower(process, time.monotonic())

    def _watch(self, name: str, output: Any, *arguments: str) -> subprocess.Popen[bytes]:
        process = self._start(output, *arguments)
        self._watching[name] = process
        if self._stopped.is_set():  # and may have been before this could be ended
            process.kill()
        return process

    def _start(self, output: Any, *arguments: str) -> subprocess.Popen[bytes]:
        program = find_kubectl()
        assert program is not None, "it was needed for the cluster"
        where = (f"--kubeconfig={self._cluster.kubeconfig}", self._within)
        return subprocess.Popen(
            [*commands.ending_with_us(), str(program), *where, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
        )

    def _said(self, *arguments: str) -> str:
        try:
            return self._cluster.kubectl(self._within, *arguments, timeout=_KUBECTL_SECONDS)
        except KubectlError as error:
            return str(error)


def _documents(stream: IO[bytes]) -> Iterator[Object]:
    """JSON objects, one after another without anything between them."""
    decoder, text = json.JSONDecoder(), ""
    while piece := stream.read1(_ENOUGH):  # type: ignore[attr-defined]
        text += piece.decode(errors="replace")
        while text := text.lstrip():
            try:
                found, end = decoder.raw_decode(text)
            except ValueError:
                break  # the rest of it is still to come
            yield found
            text = text[end:]


def _end_of(file: Path) -> str:
    lines = file.read_text(errors="replace").splitlines()
    left_out = [f"... {len(lines) - LINES} lines before ..."] if len(lines) > LINES else []
    return "\n".join(left_out + lines[-LINES:])
