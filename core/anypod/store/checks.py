"""What every driver refuses before it asks its store, so that all refuse the same."""

from collections.abc import Sequence

from anypod.store.kv import (
    MAX_COMMIT_BYTES,
    MAX_OPERATIONS,
    MAX_VALUE_BYTES,
    Delete,
    DeletePrefix,
    Put,
    ValueTooLarge,
)

Write = Put | Delete | DeletePrefix


def check_key(key: str) -> None:
    """Raises ValueError for what is not a key: an empty one would mean "all" to etcd."""
    if not key or "\0" in key:
        raise ValueError(f"not a key: {key!r}")


def check_keys(keys: Sequence[str]) -> None:
    """Raises ValueError for none, for too many, and for what is not a key."""
    if not keys:
        raise ValueError("no keys asked for")
    check_count(keys)
    for key in keys:
        check_key(key)


def check_prefix(prefix: str) -> None:
    """Raises ValueError for a prefix that could reach beyond its folder."""
    if len(prefix) < 2 or not prefix.endswith("/") or "\0" in prefix:
        raise ValueError(f"a prefix ends in '/' and is not the whole store: {prefix!r}")


def prefix_end(prefix: str) -> str:
    """The first key after all keys that begin with ``prefix``."""
    return prefix[:-1] + chr(ord("/") + 1)


def check_count(operations: Sequence[object]) -> None:
    if len(operations) > MAX_OPERATIONS:
        raise ValueError(f"{len(operations)} operations in one call; {MAX_OPERATIONS} at most")


def check_commit(writes: Sequence[Write], when: Sequence[tuple[str, int]]) -> None:
    """Raises ValueTooLarge, or ValueError for writes that no store can do at once."""
    check_count(writes)
    check_count(when)
    for key, _ in when:
        check_key(key)
    _check_size(writes)
    _check_overlap(writes)


def _check_size(writes: Sequence[Write]) -> None:
    total = 0
    for write in writes:
        if isinstance(write, DeletePrefix):
            check_prefix(write.prefix)
            continue
        check_key(write.key)
        total += len(write.key)
        if isinstance(write, Put):
            total += len(write.value)
            if len(write.value) > MAX_VALUE_BYTES:
                raise ValueTooLarge(repr(write.key), len(write.value))
    if total > MAX_COMMIT_BYTES:
        raise ValueTooLarge("one commit", total, MAX_COMMIT_BYTES)


def _check_overlap(writes: Sequence[Write]) -> None:
    puts = [write.key for write in writes if isinstance(write, Put)]
    deletes = {write.key for write in writes if isinstance(write, Delete)}
    prefixes = tuple(write.prefix for write in writes if isinstance(write, DeletePrefix))
    for key in puts:
        if key in deletes or key.startswith(prefixes):
            raise ValueError(f"one commit puts and deletes {key!r}")
    if len(set(puts)) != len(puts):
        raise ValueError("one commit puts a key twice")
