"""The gate before every route that is not open: who calls, and may they?

The way of a known key is one look-up of its digest; only a token of Kubernetes that is new or old
is asked about.
"""

import asyncio
import logging

from aiohttp import hdrs, web

from anypod.api.problems import AnyPodError, error, problem
from anypod_gateway.callers.attempts import FailedAttempts
from anypod_gateway.callers.keys import ApiKeys, digest_of
from anypod_gateway.callers.lanes import LaneFull
from anypod_gateway.callers.remembered import NoAnswer
from anypod_gateway.callers.rights import Caller, Verb
from anypod_gateway.callers.tokens import Tokens
from anypod_gateway.calls import Call
from anypod_gateway.metrics import Metrics

log = logging.getLogger(__name__)

AWAY_RETRY_SECONDS = 1
_LONGEST_TOKEN = 16 * 1024
_CHALLENGE = 'Bearer realm="anypod"'


class Unauthenticated(AnyPodError):
    """With the challenge that goes with a 401 (RFC 6750)."""

    def __init__(self, detail: str, code: str = "") -> None:
        super().__init__(problem("unauthenticated", detail))
        self.challenge = f'{_CHALLENGE}, error="{code}"' if code else _CHALLENGE


class Gate:
    """``keys`` and ``tokens`` are set as they are there; without either nobody passes."""

    def __init__(self, metrics: Metrics) -> None:
        self.keys: ApiKeys | None = None
        self.tokens: Tokens | None = None
        self._failures = FailedAttempts()
        self._count = metrics.authentication

    async def admit(
        self, request: web.BaseRequest, call: Call, verb: Verb, pool: str | None
    ) -> None:
        """Notes the caller on the call. Raises AnyPodError, as when the caller may not do ``verb``
        in ``pool``; without a pool, any caller who is known may pass."""
        caller = call.caller = await self._caller(request)
        if pool is not None and not await self.may(caller, verb, pool):
            self._count("forbidden")
            raise error("forbidden", f"this needs the verb {verb!r} in pool {pool!r}")

    async def may(self, caller: Caller, verb: Verb, pool: str) -> bool:
        """Raises AnyPodError when that cannot be found out."""
        try:
            return await caller.may(verb, pool)
        except (NoAnswer, LaneFull):
            raise self._unavailable() from None

    async def _caller(self, request: web.BaseRequest) -> Caller:
        shown = _shown(request)
        if shown is None:
            self._count("missing")
            raise Unauthenticated("show a key: Authorization: Bearer KEY")
        digest = digest_of(shown)
        if self.keys is not None:
            known = self.keys.find(digest)
            if known is not None:
                self._count("key")
                return known
        return await self._by_token(request, digest, shown)

    async def _by_token(self, request: web.BaseRequest, digest: bytes, shown: str) -> Caller:
        now, address = asyncio.get_running_loop().time(), request.remote or ""
        wait = self._failures.wait(address, now)
        if self.tokens is not None and len(shown) <= _LONGEST_TOKEN:
            try:
                caller = await self.tokens.find(digest, shown, suspect=wait > 0)
            except NoAnswer:
                raise self._unavailable() from None
            except LaneFull:
                if wait:
                    raise self._too_many(wait) from None
                raise self._unavailable() from None
            if caller is not None:
                self._count("token")
                return caller
        if wait:
            raise self._too_many(wait)
        if self._failures.note(address, now):
            log.warning("too many unknown keys from %s; more are answered 429", address)
        self._count("unknown")
        raise Unauthenticated("nobody has this key, or it has expired", "invalid_token")

    def _too_many(self, wait: int) -> AnyPodError:
        self._count("throttled")
        return error(
            "too-many-attempts", "too many unknown keys came from this address", retry_after=wait
        )

    def _unavailable(self) -> AnyPodError:
        self._count("unavailable")
        return error(
            "authentication-unavailable",
            "Kubernetes does not answer, and only it knows this caller",
            retry_after=AWAY_RETRY_SECONDS,
        )


def _shown(request: web.BaseRequest) -> str | None:
    """What stands behind ``Bearer``; None when nothing does. Raises AnyPodError."""
    given = request.headers.getall(hdrs.AUTHORIZATION, ())
    if not given:
        return None
    if len(given) > 1:
        # A proxy may have looked at another one than we would.
        raise error("bad-request", "Authorization stands there twice", path="Authorization")
    scheme, _, shown = given[0].partition(" ")
    if scheme != "Bearer" and scheme.lower() != "bearer":
        return None
    return shown.strip() or None
