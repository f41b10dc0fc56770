"""``python -m tests.cluster.images``: build what is missing, then say what there is."""

import sys
from collections.abc import Callable
from pathlib import Path

from tests.cluster import images
from tests.cluster.archives import Archive
from tests.cluster.images import containers, measure

_MEASURED: dict[str, Callable[[Path], float]] = {
    images.ANYPOD: measure.gateway_seconds,
    images.WORKER: measure.worker_seconds,
}
_ROW = "{:<30} {:>9} {:>9} {:>16}\n"


def main() -> int:
    try:
        archives = images.archives()
    except images.CannotBuild as reason:
        sys.stderr.write(f"The images cannot be built here: {reason}\n")
        return 1
    sys.stdout.write(_ROW.format("image", "size", "archive", "start to ready"))
    for name, path in zip((images.ANYPOD, images.WORKER, images.ETCD), archives, strict=True):
        size, packed = Archive(path).bytes_unpacked, path.stat().st_size
        sys.stdout.write(_ROW.format(name, _mb(size), _mb(packed), _start(name, path)))
        sys.stdout.write(f"  {path}\n")
    why_not = containers.why_not()
    if why_not:
        sys.stdout.write(f"starts are not measured: {why_not}\n")
    return 0


def _start(name: str, path: Path) -> str:
    if name not in _MEASURED or containers.why_not():
        return "-"
    return f"{_MEASURED[name](path):.2f} s"


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
