"""A container of an image, by runc alone: no daemon, and nothing more allowed than a strict pod is.

Its user is the image's (or another), its root file system read-only, /tmp its own, all capabilities
gone, no privilege to be gained, the default seccomp profile on. It shares the machine's network, so
that what it serves on loopback can be called; everything else is its own.
"""

import contextlib
import http.client
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.archives import Archive
from tests.cluster.images import cache, seccomp

PATIENCE = 60.0
"""Seconds that anything may take on a busy machine."""
_STATE = Path("/run/anypod-images-runc")
_POLL_SECONDS = 0.002


@dataclass(frozen=True)
class Order:
    """What a pod's template says of a container."""

    archive: Path
    arguments: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Mounted read-only, by path: what a Secret or a ConfigMap holds."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Of this machine, mounted as they are: a volume."""
    user: int | None = None
    """In the place of the image's."""
    masked: Sequence[str] = ()
    """Programs of the image that cannot be run."""


def why_not() -> str:
    """Why no container can be run here; empty when it can."""
    if os.geteuid() != 0:
        return "running containers needs root"
    if shutil.which("runc") is None:
        return "no runc is installed"
    return "" if seccomp.PROFILE.exists() else f"no {seccomp.PROFILE}"


class Container:
    """Made by ``running``."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self._name = name
        self._process = process
        self._log = log
        self.began = time.monotonic()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Of its first process, as this machine sees it."""
        told = subprocess.run(
            ["runc", "--root", _STATE, "state", self._name],
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        )
        return int(json.loads(told.stdout)["pid"])

    def until_answers(self, port: int, path: str) -> float:
        """Until it answers 200 there; the seconds since its start."""
        while True:
            if _status(port, path) == http.HTTPStatus.OK:
                return time.monotonic() - self.began
            assert self._process.poll() is None, f"the container has ended:\n{self.log}"
            assert time.monotonic() - self.began < PATIENCE, f"no answer:\n{self.log}"
            time.sleep(_POLL_SECONDS)

    def until_ended(self) -> int:
        """Its exit status."""
        return self._process.wait(PATIENCE)

    def signal(self, name: str) -> None:
        """To its first process."""
        _runc("kill", self._name, name)

    def stop(self) -> int:
        """As a kubelet does; its exit status."""
        self.signal("TERM")
        return self.until_ended()

    def end(self) -> None:
        """Whatever its state: nothing of it is left."""
        subprocess.run(
            ["runc", "--root", _STATE, "delete", "--force", self._name],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        self._process.wait(PATIENCE)


@contextlib.contextmanager
def running(order: Order) -> Iterator[Container]:
    """Started, perhaps not ready; gone afterwards."""
    archive = Archive(order.archive)
    root = _unpacked(archive)
    _end_orphans()
    name = f"{os.getpid()}-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder)
        config = _configuration(order, archive, root, _write(order.files, bundle))
        (bundle / "config.json").write_text(json.dumps(config))
        with (bundle / "log").open("wb") as log:
            container = Container(name, _start(name, bundle, log.fileno()), bundle / "log")
        try:
            yield container
        finally:
            container.end()


def _start(name: str, bundle: Path, log: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["runc", "--root", _STATE, "run", "--bundle", bundle, name],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )


def _runc(*arguments: str) -> None:
    subprocess.run(["runc", "--root", _STATE, *arguments], timeout=PATIENCE, check=True)


def _end_orphans() -> None:
    """Containers of a test run that was killed."""
    for state in _STATE.glob("*-*"):
        owner = state.name.partition("-")[0]
        if not Path("/proc", owner).exists():
            _runc("delete", "--force", state.name)


def _status(port: int, path: str) -> int:
    """Of a GET; 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _unpacked(archive: Archive) -> Path:
    """The image's root file system; several containers may have it, for none can change it. Beside
    its archive, so that it goes when that does, and not before."""
    folder = archive.path.parent
    roots = folder / "roots"
    roots.mkdir(exist_ok=True)
    root = roots / archive.path.stem
    with cache.locked("roots"):
        for other in roots.iterdir():
            if not (folder / f"{other.name}.tar").exists():
                shutil.rmtree(other)
        if not root.exists():
            draft = root.with_suffix(".draft")
            archive.unpack(draft)
            draft.rename(root)
    return root


def _write(files: Mapping[str, str], bundle: Path) -> dict[str, Path]:
    """Where what is to be mounted lies, by where it goes."""
    found = {}
    for number, (path, content) in enumerate(files.items()):
        found[path] = bundle / f"file-{number}"
        found[path].write_text(content)
        found[path].chmod(0o444)
    return found


# what runc is told


def _configuration(
    order: Order, archive: Archive, root: Path, files: Mapping[str, Path]
) -> dict[str, Any]:
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(root), "readonly": True},
        "hostname": "pod",
        "process": _process(order, archive),
        "mounts": [
            *_KERNEL_MOUNTS,
            *(_bind(source, path, "ro") for path, source in files.items()),
            *(_bind(source, path, "rw") for path, source in order.folders.items()),
            *(_bind(Path("/dev/null"), path, "ro") for path in order.masked),
        ],
        "linux": {
            "namespaces": [{"type": each} for each in ("pid", "mount", "ipc", "uts", "cgroup")],
            "seccomp": seccomp.without_capabilities(),
            "maskedPaths": _MASKED,
            "readonlyPaths": _READ_ONLY,
        },
    }


def _process(order: Order, archive: Archive) -> dict[str, Any]:
    settings = archive.process
    command = [*(settings.get("Entrypoint") or []), *(order.arguments or settings.get("Cmd") or [])]
    uid, _, gid = settings["User"].partition(":")
    nothing: list[str] = []
    return {
        "terminal": False,
        "user": {"uid": order.user or int(uid), "gid": 0 if order.user else int(gid)},
        "args": command,
        "env": [*(settings.get("Env") or []), *(f"{k}={v}" for k, v in order.env.items())],
        "cwd": settings.get("WorkingDir") or "/",
        "noNewPrivileges": True,
        "capabilities": dict.fromkeys(
            ("bounding", "effective", "inheritable", "permitted", "ambient"), nothing
        ),
    }


def _bind(source: Path, destination: str, mode: str) -> dict[str, Any]:
    options = ["rbind", mode]
    return {"destination": destination, "type": "bind", "source": str(source), "options": options}


def _mount(destination: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": kind, "options": [*options]}


_KERNEL_MOUNTS = [
    _mount("/proc", "proc", "nosuid", "noexec", "nodev"),
    _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
    _mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
    _mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
    _mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
    _mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
    _mount("/tmp", "tmpfs", "nosuid", "nodev", "mode=1777"),
]
_MASKED = [
    *("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
]
_READ_ONLY = [
    *("/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
]
