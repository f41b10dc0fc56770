"""The images that a bare node has from its first moment: filled into a store once, then linked.

To import an image takes each node seconds of work, at every start; hard links take none. What
containerd keeps of an image, blobs and unpacked layers, is never written to again, so all nodes
share it; its databases are each node's own.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import commands, loading
from tests.cluster.archives import images_in
from tests.cluster.images import cache
from tests.cluster.telling import step
from tests.cluster.waiting import wait_until

_SHARED = {"blobs", "snapshots"}
"""Folders of files that containerd makes once and never writes to."""
_IDENTITY = "io.containerd.grpc.v1.introspection"
_IMPORT_SECONDS = 600.0
_SECONDS = 120.0
_CONFIG = """\
version = 2
root = "{root}"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{folder}/containerd.sock"
[ttrpc]
  address = "{folder}/ttrpc.sock"
# What the next image shares with the one whose name it takes belongs to none for a moment: it is
# collected only when that is asked for, at the end.
[plugins."io.containerd.gc.v1.scheduler"]
  mutation_threshold = 1000000
  startup_delay = "24h"
"""
Ctr = Callable[..., str]


def filled(archives: Sequence[Path]) -> Path:
    """A containerd's folder with the images of these archives and no others, in the cache."""
    version = commands.run("containerd", "--version", seconds=_SECONDS).split()[2]
    kind = f"containerd-{version}"
    names = sorted(f"{image.name} {image.id}" for a in archives for image in images_in(a))
    return cache.kept(
        kind, cache.key(*names), lambda path: _fill(path, archives, cache.newest(kind, "")), ""
    )


def link(store: Path, root: Path) -> None:
    """Make ``root`` a folder of another containerd's, with what the store has."""
    same_disk = store.stat().st_dev == root.parent.stat().st_dev
    # One call for some twenty thousand files.
    commands.run("cp", "-al" if same_disk else "-a", store, root, seconds=_SECONDS)
    if same_disk:
        for file in _databases(root):
            mine = file.with_name(f"{file.name}.mine")
            shutil.copy2(file, mine)
            mine.replace(file)


def _databases(root: Path) -> Iterator[Path]:
    for folder, inside, files in os.walk(root):
        inside[:] = [name for name in inside if name not in _SHARED]
        yield from (Path(folder, name) for name in files)


def _fill(path: Path, archives: Sequence[Path], like: Path | None) -> None:
    """What has not changed since the last one was filled is not imported again."""
    with step("filling the store of images that nodes start with"):
        if like is None:
            path.mkdir()
        else:
            link(like, path)
        with containerd(path) as ctr:
            for archive in loading.missing(ctr, archives):
                ctr(*loading.import_image(archive), seconds=_IMPORT_SECONDS)
            _drop_others(ctr, {image.name for each in archives for image in images_in(each)})
        shutil.rmtree(path / _IDENTITY, ignore_errors=True)


def _drop_others(ctr: Ctr, wanted: set[str]) -> None:
    """Also the content of what was replaced: the removal of any image cleans up."""
    others = set(ctr(*loading.IMAGES, "list", "--quiet").split()) - wanted
    passing = "localhost/passing:now"
    ctr(*loading.IMAGES, "tag", "--force", min(wanted), passing)
    ctr(*loading.IMAGES, "remove", "--sync", passing, *others)


@contextmanager
def containerd(root: Path) -> Iterator[Ctr]:
    """A containerd of its own, for as long as the block; what it mounts ends with it."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "containerd.toml")
        config.write_text(_CONFIG.format(root=root, folder=folder))

        def ctr(program: str, *arguments: str, seconds: float = _SECONDS) -> str:
            socket = f"--address={folder}/containerd.sock"
            return commands.run(program, socket, *arguments, seconds=seconds)

        command = ["nice", "unshare", "--mount", "containerd", f"--config={config}"]
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*commands.ending_with_us(), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            wait_until(lambda: _answers(ctr, process, log), "containerd answers", _SECONDS)
            yield ctr
            process.terminate()
            process.wait(_SECONDS)
        finally:
            process.kill()
            process.wait(_SECONDS)


def _answers(ctr: Ctr, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"containerd has ended:\n{log.read_text(errors='replace')[-2000:]}")
    try:
        ctr("ctr", "version")
    except commands.CommandFailed:
        return False
    return True
