"""Deletes all but the newest snapshots: ``forget_snapshots.py DIRECTORY KEEP``.

The chart's snapshot pods run it after a snapshot was taken, so the newest is never an old one.
"""

import sys
from pathlib import Path


def main(directory: Path, keep: int) -> None:
    snapshots = sorted(directory.glob("*.db"), key=lambda path: path.stat().st_mtime)
    newest = snapshots[-1].stat().st_mtime
    # What a save that was interrupted has left.
    broken = [path for path in directory.glob("*.db.part") if path.stat().st_mtime < newest]
    for path in [*snapshots[:-keep], *broken]:
        path.unlink(missing_ok=True)
        print(f"forgot {path.name}")
    print(f"kept {len(snapshots[-keep:])}; the newest is {snapshots[-1].name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
