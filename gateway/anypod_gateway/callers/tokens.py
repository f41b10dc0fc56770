"""Callers who show a token of Kubernetes, which says whose it is and what its user may do."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from anypod.api import ids
from anypod.store.outage import Outage
from anypod_gateway.callers import reviews
from anypod_gateway.callers.lanes import Lane
from anypod_gateway.callers.remembered import NoAnswer, Remembered
from anypod_gateway.callers.reviews import User
from anypod_gateway.callers.rights import Verb

log = logging.getLogger(__name__)

MAX_USERS = 4096
MAX_ACCESSES = 16_384
AT_ONCE, WAITING = 16, 256
SUSPECTS_AT_ONCE, SUSPECTS_WAITING = 2, 16
"""For addresses from which too many tokens came that were none."""

_POOL = re.compile(ids.POOL_REF[1:-1])


class Reviewer(Protocol):
    """Who answers reviews; raises NoAnswer when it cannot be asked."""

    async def review(self, path: str, question: Mapping[str, Any]) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class TokenCaller:
    """A caller whose token is this user's."""

    name: str
    user: User = field(repr=False)
    tokens: "Tokens" = field(repr=False)

    async def may(self, verb: Verb, pool: str) -> bool:
        """Raises NoAnswer, LaneFull."""
        return await self.tokens.may(self.user, verb, pool)


class Tokens:
    def __init__(self, reviewer: Reviewer, audience: str, home: str) -> None:
        """``home``: the namespace of pools that are called by their bare names."""
        self._reviewer = reviewer
        self._audience = audience
        self._home = home
        self._users: Remembered[bytes, TokenCaller | None] = Remembered(MAX_USERS)
        self._accesses: Remembered[tuple[User, Verb, str], bool] = Remembered(MAX_ACCESSES)
        self._lane = Lane(AT_ONCE, WAITING)
        self._suspects = Lane(SUSPECTS_AT_ONCE, SUSPECTS_WAITING)
        self._outage = Outage(log, "asking Kubernetes about callers")

    async def find(self, digest: bytes, token: str, *, suspect: bool) -> TokenCaller | None:
        """Raises NoAnswer, LaneFull."""
        suspect = suspect and not self._users.knows(digest)
        lane = self._suspects if suspect else self._lane

        async def ask() -> TokenCaller | None:
            question = reviews.token_review(token, self._audience)
            answer = await self._ask(lane, reviews.TOKEN_REVIEWS, question)
            user = reviews.user_of(answer, self._audience)
            return TokenCaller(user.shown, user, self) if user is not None else None

        return await self._users.get(digest, ask)

    async def may(self, user: User, verb: Verb, pool: str) -> bool:
        if not _POOL.fullmatch(pool):
            return False
        name, _, namespace = pool.partition(".")

        async def ask() -> bool:
            question = reviews.access_review(user, verb, namespace or self._home, name)
            return reviews.is_allowed(await self._ask(self._lane, reviews.ACCESS_REVIEWS, question))

        return await self._accesses.get((user, verb, pool), ask)

    async def close(self) -> None:
        await self._users.close()
        await self._accesses.close()

    async def _ask(self, lane: Lane, path: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
        async with lane.turn():
            try:
                answer = await self._reviewer.review(path, question)
            except NoAnswer as reason:
                self._outage.failed(reason)
                raise
        self._outage.over()
        return answer
