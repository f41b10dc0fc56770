"""Deletes all but the newest snapshots, and more of the oldest while another one has no room:
``forget_snapshots.py DIRECTORY KEEP``.

The chart's snapshot pods run it before a snapshot is taken, for a full volume would take none any
more, and after it. The newest always stays, so there is a way back while the next is written.
"""

import shutil
import sys
import time
from pathlib import Path

ROOM = 1.5
"""Of the newest one's size, as the next may be larger."""
SAVE_SECONDS = 1800
"""No Job of snapshots lives longer: its activeDeadlineSeconds."""


def main(directory: Path, keep: int) -> None:
    snapshots = sorted(directory.glob("*.db"), key=lambda path: path.stat().st_mtime)
    kept, gone = snapshots[-keep:], [*snapshots[:-keep], *broken(directory, snapshots)]
    # Counted, as some file systems free what was deleted only after a while.
    free = shutil.disk_usage(directory).free + sum(map(size, gone))
    while len(kept) > 1 and free < ROOM * size(kept[-1]):
        gone.append(kept.pop(0))
        free += size(gone[-1])
    for path in gone:
        path.unlink(missing_ok=True)
        print(f"forgot {path.name}")
    print(f"kept {len(kept)}; the newest is {kept[-1].name}" if kept else "no snapshot yet")


def broken(directory: Path, snapshots: list[Path]) -> list[Path]:
    """What saves that were interrupted have left."""
    newest = snapshots[-1].stat().st_mtime if snapshots else 0.0
    since = max(newest, time.time() - SAVE_SECONDS)
    return [path for path in directory.glob("*.db.part") if path.stat().st_mtime < since]


def size(path: Path) -> int:
    return path.stat().st_size


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
