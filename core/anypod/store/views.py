"""The records under one prefix, in memory, as a watch tells of them."""

import logging
from collections.abc import Callable, Iterable
from typing import Generic

from anypod.store.kv import Change, Entry
from anypod.store.records import R, UnreadableRecord, decode

log = logging.getLogger(__name__)

OnChange = Callable[[R | None, R | None], None]
"""What there was, and what there is now: None for absent, or for what cannot be read."""


class RecordView(Generic[R]):
    """Implements ``pool_watch.View``."""

    def __init__(self, kind: type[R], on_change: "OnChange[R] | None" = None) -> None:
        self._kind = kind
        self._on_change = on_change
        self._records: dict[str, R | UnreadableRecord] = {}

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: str) -> R | None:
        """Raises UnreadableRecord."""
        found = self._records.get(key)
        if isinstance(found, UnreadableRecord):
            raise found.again()
        return found

    def reset(self, entries: Iterable[Entry]) -> None:
        before, self._records = self._records, {}
        for entry in entries:
            self._records[entry.key] = self._read(entry)
        for key in before | self._records:
            self._tell(before.get(key), self._records.get(key))

    def change(self, change: Change) -> None:
        before = self._records.pop(change.key, None)
        if change.value is not None:
            entry = Entry(change.key, change.value, change.version)
            self._records[change.key] = self._read(entry)
        self._tell(before, self._records.get(change.key))

    def _read(self, entry: Entry) -> R | UnreadableRecord:
        try:
            return decode(entry, self._kind)
        except UnreadableRecord as error:
            log.warning("%s", error)
            return error.again()

    def _tell(self, before: R | UnreadableRecord | None, now: R | UnreadableRecord | None) -> None:
        was, is_ = _readable(before), _readable(now)
        if self._on_change is not None and was != is_:
            self._on_change(was, is_)


def _readable(found: R | UnreadableRecord | None) -> R | None:
    return None if isinstance(found, UnreadableRecord) else found
