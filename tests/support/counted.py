"""Counts a store's calls, by operation."""

from collections import Counter

from anypod.store.kv import KeyValue
from anypod.store.observed import ObservedStore


def counted(store: KeyValue) -> tuple[ObservedStore, Counter[str]]:
    """The same store, and how often each of its operations has been called by then."""
    calls: Counter[str] = Counter()

    def observe(operation: str, seconds: float, answered: bool) -> None:
        assert seconds >= 0
        calls[operation if answered else f"{operation} failed"] += 1

    return ObservedStore(store, observe), calls
