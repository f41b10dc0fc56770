"""The clock by which leases of a SQLite file end: nobody sets it, and it stands while all sleeps.

Set forwards by an hour, the wall clock would end claims of gateways that live, and sessions in
use; set backwards, it would keep those of the dead. So would a clock that goes on while a laptop
sleeps, for the gateways that renew them sleep, too. The kernel's monotonic clock, by which they
measure time, does nothing of that, and all processes share it; but it begins anew with each boot.
So the first that opens the file after a boot writes down how far the wall clock is ahead of it, and
that holds until the next boot. Time that the machine was off counts, what it slept since does not:
that is written down as well, for the wall clock has gone on.
"""

import sqlite3
import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_TABLE = """
CREATE TABLE IF NOT EXISTS boots (
    boot TEXT PRIMARY KEY,
    ahead REAL NOT NULL,
    slept_before REAL NOT NULL,  -- that boot's, when ahead was written down
    slept REAL NOT NULL
)
"""
_FIND = "SELECT ahead, slept FROM boots WHERE boot = ?"
_BEGIN = """
INSERT OR IGNORE INTO boots
SELECT :boot, :ahead - total(slept - slept_before), :slept, :slept FROM boots
"""
_SLEPT = "UPDATE boots SET slept = max(slept, ?) WHERE boot = ?"
_NAP_SECONDS = 1.0
"""Less is not worth a write."""


class Clock:
    """To be read from the file before it is asked."""

    def __init__(self) -> None:
        self._boot = ""
        self._ahead = 0.0
        self._slept = 0.0

    def now(self) -> float:
        """Seconds, near those of the epoch."""
        return time.clock_gettime(time.CLOCK_MONOTONIC) + self._ahead

    def read(self, db: sqlite3.Connection) -> None:
        self._boot = _BOOT_ID.read_text().strip()
        db.execute(_TABLE)
        found = db.execute(_FIND, (self._boot,)).fetchone()
        if found is None:
            ahead = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)
            db.execute(_BEGIN, {"boot": self._boot, "ahead": ahead, "slept": _slept()})
            found = db.execute(_FIND, (self._boot,)).fetchone()
        self._ahead, self._slept = found

    def note_sleep(self, db: sqlite3.Connection) -> None:
        """If there was any; beside any transaction, for that may not be committed."""
        slept = _slept()
        if slept > self._slept + _NAP_SECONDS:
            db.execute(_SLEPT, (slept, self._boot))
            self._slept = slept


def _slept() -> float:
    """Since the boot."""
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return since_boot - time.clock_gettime(time.CLOCK_MONOTONIC)
