"""What the SQLite driver does to its tables; each function inside one transaction."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from anypod.store import sqlite_schema as sql
from anypod.store.checks import Write, prefix_end
from anypod.store.kv import Conflict, Delete, DeletePrefix, LeaseEnded, Put


@dataclass(frozen=True, slots=True)
class LogBound:
    entries: int = 4096
    size: int = 16 * 1024 * 1024
    """Bytes of values."""


def commit(
    db: sqlite3.Connection,
    writes: Sequence[Write],
    when: Sequence[tuple[str, int]],
    bound: LogBound,
    now: float,
) -> int:
    """The new revision. Raises Conflict, LeaseEnded."""
    sweep(db, now)
    _check_versions(db, when)
    _check_leases(db, writes)
    db.execute(sql.NEXT_REVISION)
    for write in writes:
        _write(db, write)
    _trim(db, bound)
    return int(db.execute(sql.REVISION).fetchone()[0])


def sweep(db: sqlite3.Connection, now: float) -> None:
    """Delete what belongs to ended leases, as a revision of its own."""
    ended = db.execute(sql.ENDED, (now,)).fetchall()
    if not ended:
        return
    db.execute(sql.NEXT_REVISION)
    db.executemany(sql.REVOKE_KEYS, ended)
    db.executemany(sql.REVOKE, ended)


def grant(db: sqlite3.Connection, ttl: float, now: float) -> int:
    lease = db.execute(sql.GRANT, {"ttl": ttl, "ends": now + ttl}).lastrowid
    assert lease is not None
    return lease


def renew(db: sqlite3.Connection, lease: int, now: float) -> bool:
    return db.execute(sql.RENEW, {"lease": lease, "now": now}).rowcount > 0


def revoke(db: sqlite3.Connection, lease: int) -> None:
    db.execute(sql.NEXT_REVISION)
    db.execute(sql.REVOKE_KEYS, (lease,))
    db.execute(sql.REVOKE, (lease,))


def _check_versions(db: sqlite3.Connection, when: Sequence[tuple[str, int]]) -> None:
    keys = json.dumps([key for key, _ in when])
    found: dict[str, int] = dict(db.execute(sql.VERSIONS, (keys,)).fetchall())
    changed = [key for key, version in when if found.get(key, 0) != version]
    if changed:
        raise Conflict(f"changed meanwhile: {', '.join(changed)}")


def _check_leases(db: sqlite3.Connection, writes: Sequence[Write]) -> None:
    leases = {write.lease for write in writes if isinstance(write, Put) and write.lease}
    if not leases:
        return
    living = {row[0] for row in db.execute(sql.LIVING, (json.dumps(list(leases)),))}
    if leases - living:
        raise LeaseEnded(f"no such lease: {sorted(leases - living)}")


def _write(db: sqlite3.Connection, write: Write) -> None:
    match write:
        case Put(key, value, lease):
            db.execute(sql.PUT, (key, value, lease))
        case Delete(key):
            db.execute(sql.DELETE, (key,))
        case DeletePrefix(prefix):
            db.execute(sql.DELETE_RANGE, (prefix, prefix_end(prefix)))


def _trim(db: sqlite3.Connection, bound: LogBound) -> None:
    bounds = {"entries": bound.entries, "bytes": bound.size}
    (last,) = db.execute(sql.TRIM_TO, bounds).fetchone()
    if last > 0:
        db.execute(sql.TRIM_MARK, (last,))
        db.execute(sql.TRIM, (last,))
