"""The clock by which leases of a SQLite file end: nobody sets it.

Set forwards by an hour, the wall clock would end claims of gateways that live, and sessions in
use; set backwards, it would keep those of the dead. The kernel's time since boot, which all
processes share, does neither, but begins anew with each boot. So the first that opens the file
after a boot writes down how far the wall clock is ahead of it, and that holds until the next boot.
"""

import sqlite3
import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_TABLE = "CREATE TABLE IF NOT EXISTS clock (boot TEXT PRIMARY KEY, ahead REAL NOT NULL)"
_FIND = "SELECT ahead FROM clock WHERE boot = ?"
_BEGIN = "INSERT OR IGNORE INTO clock VALUES (?, ?)"
_FORGET = "DELETE FROM clock WHERE boot <> ?"


class Clock:
    """To be read from the file before it is asked."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        """Seconds, near those of the epoch."""
        return _since_boot() + self._ahead

    def read(self, db: sqlite3.Connection) -> None:
        boot = _BOOT_ID.read_text().strip()
        db.execute(_TABLE)
        found = db.execute(_FIND, (boot,)).fetchone()
        if found is None:
            db.execute(_BEGIN, (boot, time.time() - _since_boot()))
            db.execute(_FORGET, (boot,))
            found = db.execute(_FIND, (boot,)).fetchone()
        (self._ahead,) = found


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
