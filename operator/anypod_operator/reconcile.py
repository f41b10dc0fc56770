"""The one look at a pool that every trigger leads to.

It reads what the pool wants from the API, brings each child to it, and writes the status, if that
is another. It remembers nothing that it could not do without: killed anywhere, the next look, of
this process or another, finishes what was begun.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from anypod.resources import names
from anypod_operator import news
from anypod_operator.api import Api
from anypod_operator.api_errors import ApiError, Ending, Forbidden, NotFound
from anypod_operator.children import Children, digest
from anypod_operator.diagnosis import Trouble
from anypod_operator.events import Events
from anypod_operator.kinds import DEPLOYMENT, POOL, Raw
from anypod_operator.metrics import Metrics
from anypod_operator.objects import build
from anypod_operator.pools import NotYet, Owner, Pool, PoolKey, owner_of, parse
from anypod_operator.problems import Problem, problem_of
from anypod_operator.scale_in import ScaleIn
from anypod_operator.settings import Settings
from anypod_operator.status import Load, Observed, assess
from anypod_operator.world import World

log = logging.getLogger(__name__)

FAILURES = 4
"""In a row, from which on a pool's status tells of them."""
_WAITING_CURE = "If that lasts, see who holds it by its metadata.finalizers."


class Reconciler:
    def __init__(
        self,
        api: Api,
        world: World,
        children: Children,
        scale_in: ScaleIn,
        events: Events,
        settings: Settings,
        metrics: Metrics,
        loads: Callable[[PoolKey], dict[str, Load]],
    ) -> None:
        self._api = api
        self._world = world
        self._children = children
        self._scale_in = scale_in
        self._events = events
        self._settings = settings
        self._metrics = metrics
        self._loads = loads
        self._uids: dict[PoolKey, str] = {}
        self._written: dict[PoolKey, tuple[str, str]] = {}
        """Digests of the status that was written, and of what the API made of it."""
        self._degraded: dict[PoolKey, str] = {}
        self._failures: dict[PoolKey, int] = {}
        self._unknown: dict[PoolKey, tuple[str, ...]] = {}

    async def look(self, key: PoolKey) -> float | None:
        """After how many seconds to look again. Raises what failed and is to be tried again."""
        began = time.monotonic()
        outcome = "failed"
        try:
            again = await self._look(key)
            outcome = "done"
        except NotYet as reason:
            log.info("%s: %s", key, reason)
            outcome = "waits"
            raise
        except ApiError as reason:
            log.warning("%s: %s", key, reason)
            raise
        except Exception:
            log.exception("%s: the look at this pool broke", key)
            raise
        finally:
            self._metrics.reconciles.labels(outcome).inc()
            self._metrics.reconcile_seconds.observe(time.monotonic() - began)
        return again

    async def _look(self, key: PoolKey) -> float | None:
        try:
            raw = await self._api.get(POOL, key.namespace, key.name)
        except NotFound:
            self._forget(key)
            self._world.lost(POOL, key.namespace, key.name)
            return None
        except Forbidden:
            if self._world.get(POOL, key.namespace, key.name) is not None:
                raise
            self._forget(key)  # its namespace is gone, and our Role with it
            return None
        if "deletionTimestamp" in raw["metadata"]:
            return None
        owner = owner_of(raw)
        if self._uids.get(key) != owner.uid:
            self._forget(key)
            self._uids[key] = owner.uid
        try:
            problem = await self._bring_about(raw)
        except Ending:
            return None
        except NotYet as reason:
            await self._note_failure(owner, raw, Trouble("Waiting", str(reason), _WAITING_CURE))
            raise
        except ApiError as reason:
            again = "It is tried again and again."
            await self._note_failure(owner, raw, Trouble("ApplyFailed", str(reason), again))
            raise
        self._failures.pop(key, None)
        await self._write_status(owner, raw, problem)
        return None if problem is None else problem.retry

    async def _note_failure(self, owner: Owner, raw: Raw, trouble: Trouble) -> None:
        """What fails again and again is not hidden in a log."""
        count = self._failures[owner.key] = self._failures.get(owner.key, 0) + 1
        if count >= FAILURES:
            await self._write_status(owner, raw, Problem(trouble))

    def _forget(self, key: PoolKey) -> None:
        self._children.forget(key)
        self._uids.pop(key, None)
        self._written.pop(key, None)
        self._failures.pop(key, None)
        self._unknown.pop(key, None)
        self._note_degraded(key, "")

    # what is wanted

    async def _bring_about(self, raw: Raw) -> Problem | None:
        """Why it could not be, when trying again at once is of no use."""
        try:
            pool = parse(raw)
            self._note_unknown(pool)
            await self._apply(pool)
        except Ending:
            raise
        except Exception as reason:
            problem = problem_of(reason)
            if problem is None:
                raise
            return problem
        return None

    def _note_unknown(self, pool: Pool) -> None:
        key = pool.owner.key
        if pool.unknown != self._unknown.pop(key, ()):
            log.warning(
                "%s: the custom resource is newer than this operator, which passes over %s",
                key,
                ", ".join(pool.unknown) or "nothing of it now",
            )
        if pool.unknown:
            self._unknown[key] = pool.unknown

    async def _apply(self, pool: Pool) -> None:
        children = build(pool, self._settings)
        await self._prepare_scale_in(pool)
        for child in children:
            what = await self._children.ensure(pool, child)
            await self._tell_child(pool.owner, what, child)

    async def _prepare_scale_in(self, pool: Pool) -> None:
        deployment = self._deployment(pool.owner.key)
        if deployment is not None and await self._scale_in.prepare(pool, deployment):
            message = f"from {deployment['spec']['replicas']} to {pool.spec.replicas} workers"
            await self._events.tell(pool.owner, "Normal", "ScaledIn", f"{message}, idle ones first")

    async def _tell_child(self, owner: Owner, what: str, child: Raw) -> None:
        if what:
            self._metrics.repairs.labels(child["kind"], what).inc()
            log.info("%s: %s %s", owner.key, what, child["kind"])
        for one in news.of_child(what, child):
            await self._events.tell(owner, *one)

    # what is

    def _deployment(self, key: PoolKey) -> Raw | None:
        return self._world.get(DEPLOYMENT, key.namespace, names.workers(key.name))

    async def _write_status(self, owner: Owner, raw: Raw, problem: Problem | None) -> None:
        key, before = owner.key, raw.get("status", {})
        observed = Observed(
            pods=self._world.pods(key),
            deployment=self._deployment(key),
            loads=self._loads(key),
            problem=None if problem is None else problem.trouble,
        )
        replicas = raw["spec"].get("replicas", 0)
        called = names.for_clients(key.name, key.namespace, self._settings.home)
        url = self._settings.pool_url.format(pool=called)
        after = assess(owner, replicas, url, observed, before, datetime.now(UTC))
        degraded = next(one for one in after["conditions"] if one["type"] == "Degraded")
        self._note_degraded(key, degraded["reason"] if degraded["status"] == "True" else "")
        if self._written.get(key) == (digest(after), digest(before)) or after == before:
            return
        # Not applied: an older CRD does not know every field, and an apply would be refused.
        gone = dict.fromkeys(before.keys() - after.keys())
        body = {"metadata": {"uid": owner.uid}, "status": {**gone, **after}}
        result = await self._api.merge(POOL, key.namespace, key.name, body, "/status")
        self._written[key] = (digest(after), digest(result.get("status", {})))
        for one in news.of_status(before, after):
            await self._events.tell(owner, *one)

    def _note_degraded(self, key: PoolKey, reason: str) -> None:
        old = self._degraded.pop(key, "")
        if reason:
            self._degraded[key] = reason
        if old != reason:
            for one in {old, reason} - {""}:
                count = sum(reason == one for reason in self._degraded.values())
                self._metrics.degraded.labels(one).set(count)
