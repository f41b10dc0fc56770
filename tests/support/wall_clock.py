"""A process's wall clock that a test sets, by libfaketime: what the kernel says, and so much more.

Only CLOCK_REALTIME is another one, as when an administrator or NTP sets a machine's clock.
"""

from pathlib import Path

_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib")


def _library() -> Path:
    """Raises RuntimeError that says what to install: a test must not pass for want of it."""
    names = [f"{where}faketime/libfaketimeMT.so.1" for where in ("", "*/")]
    for folder in map(Path, _FOLDERS):
        for found in (path for name in names for path in folder.glob(name)):
            return found
    raise RuntimeError("no libfaketime; install it: apt-get install faketime")


class WallClock:
    def __init__(self, directory: Path) -> None:
        self._file = directory / "wall-clock"
        self.set(0)

    def set(self, seconds: int) -> None:
        """So much ahead of the machine's, from the next look at it on."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that has it."""
        return {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
