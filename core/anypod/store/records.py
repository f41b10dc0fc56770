"""What the store's values are: JSON with a schema version, read without trust.

A record of another schema, or one that is damaged, is an error to whoever asks for it by name, and
is left out of listings, so that one bad record never hides the others.
"""

import logging
from collections.abc import Iterable
from functools import cache
from typing import TypeVar

import msgspec

from anypod.store.kv import Entry

log = logging.getLogger(__name__)

_REPORTED_KEPT = 1000


class UnreadableRecord(Exception):
    """The store holds a record that this version cannot read."""

    def again(self) -> "UnreadableRecord":
        """The same, without what it was raised from, to keep and to raise again."""
        return UnreadableRecord(str(self))


class Record(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    omit_defaults=True,
    tag_field="schema",
    tag=1,
):
    """Base of all records; the tag is the schema version, raised by changes that older versions
    would misunderstand. Fields may be added without: unknown ones are ignored."""

    version: int = 0
    """The store's version of what was read; not kept in the record."""


R = TypeVar("R", bound=Record)


class _Schema(msgspec.Struct):
    schema: int = 0


@cache
def _decoder(kind: type[R]) -> msgspec.json.Decoder[R]:
    return msgspec.json.Decoder(kind)


def encode(record: Record) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(record, version=0))


def decode(entry: Entry, kind: type[R]) -> R:
    """Raises UnreadableRecord."""
    try:
        record: R = _decoder(kind).decode(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = _reason(entry.value, kind, str(error))
        raise UnreadableRecord(f"{entry.key}: {reason}") from error
    return msgspec.structs.replace(record, version=entry.version)


def _schema(value: bytes) -> int | None:
    try:
        return msgspec.json.decode(value, type=_Schema).schema
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _reason(value: bytes, kind: type[Record], otherwise: str) -> str:
    known = kind.__struct_config__.tag
    schema = _schema(value)
    if isinstance(known, int) and schema is not None and schema > known:
        return f"has schema {schema}; this version of AnyPod knows {known}"
    return f"cannot be read: {otherwise}"


class Reader:
    """Reads the records of a listing; tells the log once of each that it has to leave out."""

    def __init__(self) -> None:
        self._reported: dict[tuple[str, int], None] = {}

    def readable(self, entries: Iterable[Entry], kind: type[R]) -> list[R]:
        found = (self.read(entry, kind) for entry in entries)
        return [record for record in found if record is not None]

    def read(self, entry: Entry, kind: type[R]) -> R | None:
        try:
            return decode(entry, kind)
        except UnreadableRecord as error:
            self._report(entry, error)
            return None

    def _report(self, entry: Entry, error: UnreadableRecord) -> None:
        which = (entry.key, entry.version)
        if which not in self._reported:
            log.warning("left out of listings: %s", error)
            self._reported[which] = None
        if len(self._reported) > _REPORTED_KEPT:
            del self._reported[next(iter(self._reported))]
