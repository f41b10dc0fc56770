"""The tables of the SQLite driver. Triggers write the change log, so no write can forget it."""

FORMAT = 1
"""Kept in the file (``PRAGMA user_version``); a file of another format is refused."""

CONNECTION = (
    "PRAGMA busy_timeout = 3000",
    "PRAGMA synchronous = NORMAL",
)

TABLES = """
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    trimmed INTEGER NOT NULL  -- changes of this revision and older ones are no longer in the log
);
INSERT OR IGNORE INTO meta VALUES (1, 1, 0);

CREATE TABLE IF NOT EXISTS leases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ttl REAL NOT NULL,
    ends REAL NOT NULL  -- by sqlite_clock, which all processes share
);
CREATE INDEX IF NOT EXISTS leases_by_end ON leases (ends);

CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_by_lease ON entries (lease) WHERE lease <> 0;

CREATE TABLE IF NOT EXISTS log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    revision INTEGER NOT NULL,
    key TEXT NOT NULL,
    total INTEGER NOT NULL,  -- bytes of all values up to and with this one
    value BLOB  -- NULL for a deletion
);
CREATE INDEX IF NOT EXISTS log_by_revision ON log (revision);
CREATE INDEX IF NOT EXISTS log_by_total ON log (total);

CREATE TRIGGER IF NOT EXISTS log_insert AFTER INSERT ON entries BEGIN
    INSERT INTO log (revision, key, value, total) VALUES (
        NEW.version, NEW.key, NEW.value,
        length(NEW.value) + coalesce((SELECT max(total) FROM log), 0)
    );
END;
CREATE TRIGGER IF NOT EXISTS log_update AFTER UPDATE ON entries BEGIN
    INSERT INTO log (revision, key, value, total) VALUES (
        NEW.version, NEW.key, NEW.value,
        length(NEW.value) + coalesce((SELECT max(total) FROM log), 0)
    );
END;
CREATE TRIGGER IF NOT EXISTS log_delete AFTER DELETE ON entries BEGIN
    INSERT INTO log (revision, key, value, total) VALUES (
        (SELECT revision FROM meta), OLD.key, NULL,
        coalesce((SELECT max(total) FROM log), 0)
    );
END;

PRAGMA user_version = 1;
COMMIT;
"""

# A key whose lease has ended is not there, even before it has been swept away. Each of these is one
# statement, so that all of an answer is of one revision.
GET = """
SELECT key, value, version, lease FROM entries
WHERE key = :key AND (lease = 0 OR lease IN (SELECT id FROM leases WHERE ends > :now))
"""
GET_MANY = """
SELECT meta.revision, found.key, found.value, found.version, found.lease FROM meta LEFT JOIN (
    SELECT key, value, version, lease FROM entries
    WHERE key IN (SELECT value FROM json_each(:keys))
    AND (lease = 0 OR lease IN (SELECT id FROM leases WHERE ends > :now))
) AS found
"""
PAGE = """
SELECT meta.revision, found.available, found.key, found.value, found.version, found.lease
FROM meta LEFT JOIN (
    SELECT *, sum(size) OVER (ORDER BY key) AS total, count(*) OVER () AS available FROM (
        SELECT key, version, lease, CASE WHEN :with_values THEN value ELSE x'' END AS value,
        CASE WHEN :with_values THEN length(value) ELSE 0 END AS size FROM entries
        WHERE key >= :start AND key < :end AND key > :after
        AND (lease = 0 OR lease IN (SELECT id FROM leases WHERE ends > :now))
        ORDER BY key LIMIT :limit
    )
) AS found ON found.total - found.size < :bytes ORDER BY found.key
"""
STATE = "SELECT revision, (SELECT min(ends) FROM leases) FROM meta"
CHANGES = """
SELECT meta.revision, meta.trimmed, log.key, log.value, log.revision FROM meta LEFT JOIN log
ON log.revision > :delivered AND log.key >= :start AND log.key < :end ORDER BY log.id
"""

REVISION = "SELECT revision FROM meta"
NEXT_REVISION = "UPDATE meta SET revision = revision + 1"
PUT = """
INSERT INTO entries (key, value, version, lease)
VALUES (?, ?, (SELECT revision FROM meta), ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version,
lease = excluded.lease
"""
DELETE = "DELETE FROM entries WHERE key = ?"
DELETE_RANGE = "DELETE FROM entries WHERE key >= ? AND key < ?"
VERSIONS = "SELECT key, version FROM entries WHERE key IN (SELECT value FROM json_each(?))"

GRANT = "INSERT INTO leases (ttl, ends) VALUES (:ttl, :ends)"
RENEW = "UPDATE leases SET ends = :now + ttl WHERE id = :lease AND ends > :now"
REVOKE = "DELETE FROM leases WHERE id = ?"
REVOKE_KEYS = "DELETE FROM entries WHERE lease = ?"
TIME_LEFT = "SELECT ends - :now FROM leases WHERE id = :lease AND ends > :now"
ENDED = "SELECT id FROM leases WHERE ends <= ?"
LIVING = "SELECT id FROM leases WHERE id IN (SELECT value FROM json_each(?))"

TRIM_TO = """
SELECT max(
    (SELECT coalesce(max(id), 0) FROM log) - :entries,
    coalesce(
        (SELECT max(id) FROM log WHERE total <= (SELECT max(total) FROM log) - :bytes), 0
    )
)
"""
TRIM_MARK = """
UPDATE meta SET trimmed = max(trimmed, coalesce(
    (SELECT revision FROM log WHERE id <= ? ORDER BY id DESC LIMIT 1), 0
))
"""
TRIM = "DELETE FROM log WHERE id <= ?"
