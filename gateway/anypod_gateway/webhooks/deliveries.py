"""The ends of a pool's jobs that are to be told, in this gateway: which next, and what came of it.

They are claimed as jobs are, under the lease of this gateway's jobs.
"""

import asyncio
import contextlib
import logging
import random
import secrets
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from anypod.api.problems import AnyPodError, error
from anypod.api.webhooks import HEADER, BadSecret, BadUrl, check_url, origin_of
from anypod.resources.workerpool import Webhooks as Policy
from anypod.store.deliveries import DeliveryStore, DeliveryView, Telling
from anypod.store.job_records import Delivery, Job, Webhook
from anypod.store.keys import PoolKeys
from anypod.store.kv import Conflict, KeyValue, StoreUnavailable
from anypod.store.records import UnreadableRecord
from anypod_gateway.errands import Errands, vital
from anypod_gateway.jobs.lease import Lease
from anypod_gateway.webhooks import sender
from anypod_gateway.webhooks.guard import Guard, Network, Refused, networks
from anypod_gateway.webhooks.names import Names
from anypod_gateway.webhooks.places import Places
from anypod_gateway.webhooks.secrets import Secrets

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 10
FIRST_PAUSE = 1.0
PAUSE_GROWS = 4.0
LONGEST_PAUSE = 7200.0
LOOK_SECONDS = 0.5
PAUSE_PER_LOOK = 10.0
"""As many times as long as it took."""
SETTLE_AGAIN_SECONDS = 1.0
CLOSE_SECONDS = 2.0
MOST_OPEN = 10_000
"""Ends of one pool that wait to be told; then no job with a webhook is accepted."""
MOST_OF_ONE = 2_500
"""Of one caller, with those that its open jobs will have."""
RETRY_AFTER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Site:
    """What the gateway as a whole allows and has for webhooks."""

    secrets: Secrets
    names: Names
    closed: tuple[Network, ...] = ()

    @classmethod
    def of(cls, directory: Path | None, closed: tuple[str, ...]) -> "Site":
        return cls(Secrets(directory), Names(), networks(closed))


@dataclass(frozen=True, slots=True)
class Hooks:
    """Of the pool; nothing may wait or raise."""

    policy: Callable[[], Policy]
    message: Callable[[Job], bytes]
    """What is told of a job."""
    to_come: Callable[[str], int]
    """Open jobs of a caller whose ends will be to be told."""
    attempted: Callable[[str], None]
    """``delivered``, ``failed`` for now, or ``given-up``."""
    is_leaving: Callable[[], bool]
    fault: Callable[[str], None]


class Deliveries:
    def __init__(
        self,
        store: KeyValue,
        keys: PoolKeys,
        pool: str,
        *,
        owner: str,
        lease: Lease,
        site: Site,
        hooks: Hooks,
    ) -> None:
        """``pool``: as clients call it; ``owner``: this gateway's name, for people."""
        self._store = DeliveryStore(store, keys.jobs)
        self.view = DeliveryView(keys.jobs, lambda: self._wanted.set())
        """To be added to the pool's watch."""
        self._pool = pool
        self._owner = f"{owner}/{secrets.token_hex(8)}"  # which another gateway may not have
        self._lease = lease
        self._site = site
        self._hooks = hooks
        self._errands = Errands()
        self._places = Places()
        self._taken: set[str] = set()
        """Jobs."""
        self._left_alone: set[tuple[str, int]] = set()
        self._failures: set[str] = set()
        """Our own, by their kinds, that the log has."""
        self._wanted = asyncio.Event()
        self._choosing: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._choosing = vital(self._choose(), "the telling of jobs' ends", self._hooks.fault)

    async def close(self) -> None:
        """What is not told by then is left to others."""
        if self._choosing is not None:
            self._choosing.cancel()
            await asyncio.wait({self._choosing})
        await self._errands.close(CLOSE_SECONDS)

    # what handlers ask

    async def asked(self, url: str) -> Webhook:
        """What a job is to keep of it. Raises AnyPodError."""
        try:
            webhook = Webhook(check_url(url))
            self._guard(url).check_host(url)
            has_secret = bool(await self._site.secrets.of(self._pool))
        except (BadUrl, BadSecret, Refused) as wrong:
            raise _refused(str(wrong)) from None
        if not has_secret:
            raise _refused("this pool has no webhooks: it was given no secret to sign them with")
        return webhook

    def check_room(self, caller: str) -> None:
        """For one more; ``caller`` is empty where nobody is asked who they are. Raises
        AnyPodError."""
        if len(self.view) >= MOST_OPEN:
            raise _full(f"the ends of {len(self.view)} jobs wait to be told already")
        if not caller:
            return
        untold, to_come = self.view.of(caller), self._hooks.to_come(caller)
        if untold + to_come >= MOST_OF_ONE:
            raise _full(
                f"you have {to_come} open jobs with a {HEADER} and {untold} whose end is not told "
                f"yet; a caller may have {MOST_OF_ONE}: come back when receivers have said yes, "
                f"delete jobs whose receiver is gone, or do without {HEADER}"
            )

    # choosing

    async def _choose(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wanted.wait()
            self._wanted.clear()
            if len(self.view) and not self._hooks.is_leaving():
                began = time.monotonic()
                self._take_some()
                # Of thousands of origins a look takes milliseconds, and each attempt wants some.
                await asyncio.sleep(PAUSE_PER_LOOK * (time.monotonic() - began))

    def _take_some(self) -> None:
        for id_, claim in self.view.claimed_by(self._owner):
            if id_ not in self._taken:  # the store did not say that this was written
                self._taken.add(id_)
                self._errands.run(self._give_back(id_, claim))
        for one in self._places.take(map(self._free, self.view.due())):
            self._taken.add(one.job)
            self._errands.run(self._tell(one))

    def _free(self, lane: Iterable[Delivery]) -> Iterator[Delivery]:
        for one in lane:
            if one.job not in self._taken and (one.job, one.version) not in self._left_alone:
                yield one

    async def _give_back(self, job: str, claim: int) -> None:
        try:
            await self._store.release(job, claim)
        except StoreUnavailable as away:
            log.info("the end of job %s is not given back yet: %s", job, away)
        finally:
            self._taken.remove(job)

    async def _tell(self, delivery: Delivery) -> None:
        try:
            async with self._lease.claiming() as lease:
                telling = await self._store.claim(delivery, self._owner, lease)
            if telling is not None:
                await self._settle(telling, await self._attempted(telling))
                self._wanted.set()
        except (Conflict, StoreUnavailable) as why:
            log.info("the end of job %s is not told from here: %s", delivery.job, why)
        except UnreadableRecord as why:
            log.warning("the end of job %s is left alone: %s", delivery.job, why)
            self._left_alone.add((delivery.job, delivery.version))
        finally:
            self._taken.remove(delivery.job)
            self._places.leave(delivery.job)

    # telling

    async def _attempted(self, telling: Telling) -> sender.Outcome:
        try:
            return await self._attempt(telling)
        except Exception as failure:  # noqa: BLE001 - an attempt like any other, or it never ends
            self._note_failure(telling.job.id, failure)
            return sender.Outcome("the gateway failed at it", is_final=False)

    async def _attempt(self, telling: Telling) -> sender.Outcome:
        job, url = telling.job, telling.webhook.url
        try:
            keys = await self._site.secrets.of(self._pool)
        except BadSecret as wrong:
            return sender.Outcome(str(wrong), is_final=False)
        if not keys:
            return sender.Outcome("the pool has no secret to sign with", is_final=False)
        body, begun = self._hooks.message(job), time.monotonic()
        try:
            return await sender.send(url, job.id, body, keys, self._guard(url), self._site.names)
        finally:
            self._places.note(origin_of(url), time.monotonic() - begun)

    def _note_failure(self, job: str, failure: Exception) -> None:
        """Once for each kind. What it says may have the URL in it: only where it was is told."""
        kind = type(failure).__name__
        if kind not in self._failures:
            self._failures.add(kind)
            where = "".join(traceback.format_tb(failure.__traceback__))
            log.error("the end of job %s cannot be told: %s at\n%s", job, kind, where)

    def _guard(self, url: str) -> Guard:
        allowed = networks(self._hooks.policy().allowed_networks)
        return Guard(allowed, self._site.closed, is_plain=url.lower().startswith("http:"))

    async def _settle(self, telling: Telling, outcome: sender.Outcome) -> None:
        before = telling.webhook
        attempts = before.attempts + 1
        pause: float | None = None
        if not outcome.problem:
            state = told = "delivered"
        elif outcome.is_final or attempts >= MOST_ATTEMPTS:
            state, told = "failed", "given-up"
        else:
            state, told = "pending", "failed"
            pause = pause_after(attempts, outcome.asked)
        self._hooks.attempted(told)
        log.info(
            "the end of job %s: attempt %d to tell %s: %s",
            *(telling.job.id, attempts, origin_of(before.url), outcome.problem or "told"),
        )
        now = msgspec.structs.replace(
            before, state=state, attempts=attempts, problem=outcome.problem
        )
        while True:
            try:
                return await self._store.settle(telling, now, pause)
            except StoreUnavailable as away:
                log.warning("the end of job %s: not noted yet: %s", telling.job.id, away)
            await asyncio.sleep(SETTLE_AGAIN_SECONDS)


def pause_after(attempts: int, asked: int) -> float:
    """Seconds until the next attempt; not the same for all that failed at once."""
    pause = min(FIRST_PAUSE * PAUSE_GROWS ** (attempts - 1), LONGEST_PAUSE)
    return max(pause * random.uniform(1.0, 1.2), asked)  # noqa: S311 - no secret


def _full(why: str) -> AnyPodError:
    return error("queue-full", why, retry_after=RETRY_AFTER_SECONDS)


def _refused(why: str) -> AnyPodError:
    return error("bad-request", f"{HEADER}: {why}", path=HEADER)
