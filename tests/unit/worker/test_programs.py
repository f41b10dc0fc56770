"""The cache of code is bounded by bytes, and forgets the least recently used."""

from anypod.wire.messages import Code
from anypod_worker.programs import ProgramCache


def code(size: int) -> Code:
    return Code("python", {"m": "x" * (size - 1)}, "m:main")


def test_it_gives_back_what_was_put() -> None:
    cache = ProgramCache(100)
    assert cache.get("a") is None
    first = code(10)
    cache.put("a", first)
    cache.put("a", code(10))
    assert cache.get("a") is first, "a revision does not change"


def test_the_least_recently_used_goes_first() -> None:
    cache = ProgramCache(100)
    for name in "abc":
        cache.put(name, code(30))
    cache.get("a")
    cache.put("d", code(30))
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]


def test_what_is_larger_than_all_is_not_kept_and_costs_nobody() -> None:
    cache = ProgramCache(100)
    cache.put("a", code(60))
    cache.put("big", code(101))
    assert cache.get("big") is None
    assert cache.get("a") is not None


def test_bytes_are_counted_not_characters() -> None:
    cache = ProgramCache(100)
    cache.put("a", Code("python", {"m": "é" * 60}, "m:main"))
    assert cache.get("a") is None
