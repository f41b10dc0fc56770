"""What a caller may do: verbs, and the pools that they hold for. Pure."""

import re
from collections.abc import Collection
from typing import Literal, Protocol, get_args

Verb = Literal["read", "run", "write", "admin"]
VERBS: tuple[Verb, ...] = get_args(Verb)
Needs = Verb | Literal["open"]
"""Of a route: ``open`` for what anybody may ask."""

EVERY_POOL = "*"
PATTERN = re.compile(r"\*|[a-z0-9*-]{1,63}(\.[a-z0-9*-]{1,63})?")
MAX_STARS = 4
_LONGEST_NAME = 128
"""No pool has a longer one; and it bounds how long a pattern can be tried."""


class Caller(Protocol):
    @property
    def name(self) -> str:
        """For the log."""
        ...

    async def may(self, verb: Verb, pool: str) -> bool: ...


class Rights:
    """Verbs on pools. A star in a pool's name does not cross the dot before its namespace; a star
    alone is every pool."""

    __slots__ = ("_every", "_matches", "_names", "_verbs")

    def __init__(self, pools: Collection[str], verbs: Collection[Verb]) -> None:
        """Raises ValueError for a pattern that makes no sense."""
        if not all(is_pattern(pool) for pool in pools):
            raise ValueError("a pool is a name, name.namespace, or a pattern of these with stars")
        self._verbs = frozenset(verbs)
        self._every = EVERY_POOL in pools
        self._names = frozenset(pool for pool in pools if "*" not in pool)
        patterns = [_regular(pool) for pool in pools if "*" in pool and pool != EVERY_POOL]
        self._matches = re.compile("|".join(patterns)).fullmatch if patterns else None

    def allow(self, verb: Verb, pool: str) -> bool:
        if verb not in self._verbs:
            return False
        if self._every or pool in self._names:
            return True
        if self._matches is None or len(pool) > _LONGEST_NAME:
            return False
        return self._matches(pool) is not None


def is_pattern(text: str) -> bool:
    return PATTERN.fullmatch(text) is not None and text.count("*") <= MAX_STARS


def _regular(pattern: str) -> str:
    return "[a-z0-9-]*".join(re.escape(part) for part in re.split(r"\*+", pattern))
