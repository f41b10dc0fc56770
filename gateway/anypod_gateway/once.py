"""Runs that happen once: whoever repeats a call under its key gets the answer of the first.

The first call makes a record in the store, runs, and writes its answer there before it is told. It
runs to its end though its caller leaves: that is what the caller comes back for. A repeated call
waits for the answer, through whichever gateway it comes. What the platform could not do is not
kept, so that the next call runs.

What was lost with its gateway or its worker may have happened. All who waited for it are told so,
and of what nobody was told, the next one who calls; only a call that comes after that is taken at
its word and runs. It is run again at once if the program is idempotent.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from anypod.api.problems import AnyPodError, error
from anypod.store.checks import Write
from anypod.store.keys import PoolKeys
from anypod.store.kv import Conflict, KeyValue, StoreUnavailable, ValueTooLarge
from anypod.store.once import RENEW_SECONDS, Answer, OnceStore, Owner, Run
from anypod_gateway.errands import Errands

log = logging.getLogger(__name__)

_FIRST_LOOK = 0.02
_LAST_LOOK = 0.5
"""Between two looks at whether the first call has its answer."""
_SETTLE_AGAIN_SECONDS = 1.0
LAST_SECONDS = 2.0

_NOBODY = ""
"""The owner of a loss."""

Perform = Callable[[], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Keyed:
    """A call with a key."""

    digest: str
    """Of the key, its caller and the program."""
    fingerprint: str
    """Of all that the call asks for."""
    execution: str
    idempotent: bool
    deadline: float
    """By the loop's clock."""


class Once:
    """The keyed calls of one pool in this gateway."""

    def __init__(
        self, store: KeyValue, keys: PoolKeys, errands: Errands, keep_seconds: Callable[[], float]
    ) -> None:
        self._runs = OnceStore(store, keys)
        self._owner = Owner(store, keys)
        self._errands = errands
        self._keep_seconds = keep_seconds
        self._renewing: asyncio.Task[None] | None = None

    async def run(self, call: Keyed, perform: Perform) -> tuple[Answer, bool]:
        """The answer, and whether it was kept from an earlier call. Raises what ``perform`` does,
        AnyPodError, and StoreUnavailable."""
        try:
            run = await self._claim(call)
        except StoreUnavailable:
            if not call.idempotent:
                raise
            return await perform(), False  # it does no harm twice
        if run.answer is not None:
            return run.answer, True
        told: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        told.add_done_callback(_seen)
        left = asyncio.Event()
        self._errands.run(self._perform(call, run, perform, told, left))
        try:
            return await asyncio.shield(told), False
        except asyncio.CancelledError:
            left.set()
            raise

    async def accept(
        self,
        call: Keyed,
        answer: Answer,
        commit: Callable[[Write, tuple[str, int]], Awaitable[object]],
    ) -> tuple[Answer, bool]:
        """What is answered before it runs: ``commit`` writes it together with its answer."""
        run = Run(fingerprint=call.fingerprint, owner="", execution=call.execution, answer=answer)
        while True:
            found = await self._runs.get(call.digest)
            if found is not None:
                _check_same(found, call)
            if found is not None and not found.told:
                return found.answer or answer, True
            version = found.version if found is not None else 0
            try:
                await self._runs.put_with(
                    call.digest,
                    msgspec.structs.replace(run, version=version),
                    commit,
                    keep_seconds=self._keep_seconds(),
                )
            except Conflict:
                continue
            return answer, False

    async def close(self) -> None:
        """What still runs is settled by then."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait({self._renewing})
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await self._owner.end()

    # claiming

    async def _claim(self, call: Keyed) -> Run:
        """A run of ours that may begin, or one that has its answer."""
        loop = asyncio.get_running_loop()
        pause, is_new = _FIRST_LOOK, True
        while True:
            await self._begin_owning()
            claimed = await self._first(call)
            if claimed is None:
                claimed = await self._existing(call, is_new=is_new)
            if claimed is not None:
                return claimed
            is_new = False  # what it found there may be lost from now on
            left = call.deadline - loop.time()
            if left <= 0:
                raise error(
                    "deadline-exceeded",
                    "the first call with this key has no answer yet",
                    execution=call.execution,
                )
            await asyncio.sleep(min(pause, left))
            pause = min(1.5 * pause, _LAST_LOOK)

    async def _first(self, call: Keyed) -> Run | None:
        try:
            return await self._put_mine(call, self._mine(call))
        except Conflict:
            return None

    async def _existing(self, call: Keyed, *, is_new: bool) -> Run | None:
        """None while it is still to be waited for, or has just changed. ``is_new``: the call has
        seen nothing yet."""
        found = await self._runs.get(call.digest)
        if found is None:
            return None
        _check_same(found, call)
        if found.told and is_new:
            return await self._take_over(call, found, after=found.execution)
        if found.answer is not None:
            return found
        if found.owner != _NOBODY and await self._runs.is_alive(found.owner):
            return None
        return await self._inherit(call, found)

    async def _inherit(self, call: Keyed, found: Run) -> Run | None:
        """What was lost."""
        if call.idempotent:
            return await self._take_over(call, found)
        try:
            if not found.told:
                await self._put(call.digest, _loss(found, told=True))
        except Conflict:  # somebody else was quicker
            return None
        except StoreUnavailable as away:  # then it may be told once more, which does no harm
            log.warning("execution %s: that it was lost is not noted: %s", found.execution, away)
        raise error(
            "worker-lost",
            "the worker or gateway that ran it was lost; the execution may have happened",
            execution=found.execution,
        )

    async def _take_over(self, call: Keyed, found: Run, *, after: str = "") -> Run | None:
        mine = msgspec.structs.replace(self._mine(call), version=found.version, after=after)
        try:
            return await self._put_mine(call, mine)
        except Conflict:
            return None

    def _mine(self, call: Keyed) -> Run:
        return Run(fingerprint=call.fingerprint, owner=self._owner.name, execution=call.execution)

    async def _put_mine(self, call: Keyed, run: Run) -> Run:
        """Whoever leaves meanwhile leaves no record of a run that nobody is at."""
        putting = asyncio.ensure_future(self._put(call.digest, run))
        try:
            return await asyncio.shield(putting)
        except (asyncio.CancelledError, StoreUnavailable):
            self._errands.run(self._withdraw(call, putting))
            raise

    async def _withdraw(self, call: Keyed, putting: "asyncio.Task[Run]") -> None:
        await asyncio.wait({putting})
        with contextlib.suppress(Conflict, StoreUnavailable):
            putting.result()
        while not await self._is_withdrawn(call):  # noqa: ASYNC110 - no event comes
            await asyncio.sleep(_SETTLE_AGAIN_SECONDS)

    async def _is_withdrawn(self, call: Keyed) -> bool:
        try:
            found = await self._runs.get(call.digest)
            if found is not None and found.execution == call.execution and found.answer is None:
                await self._free(call.digest, found)
        except Conflict:
            log.info("execution %s: its record is another's", call.execution)
        except StoreUnavailable as away:
            log.warning("execution %s: its record is not withdrawn yet: %s", call.execution, away)
            return False
        return True

    async def _put(self, digest: str, run: Run) -> Run:
        return await self._runs.put(digest, run, keep_seconds=self._keep_seconds())

    async def _begin_owning(self) -> None:
        await self._owner.begin()
        if self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._owner.renew()
            except StoreUnavailable as away:
                log.warning("keyed runs: the store does not answer: %s", away)

    # running

    async def _perform(
        self,
        call: Keyed,
        run: Run,
        perform: Perform,
        told: "asyncio.Future[Answer]",
        left: asyncio.Event,
    ) -> None:
        """``left``: its caller has."""
        try:
            answer = await perform()
        except asyncio.CancelledError:
            told.cancel()
            raise
        except Exception as failure:  # noqa: BLE001 - it is raised to the caller
            is_lost = _may_have_happened(call, failure)
            rest = _loss(run, told=not left.is_set()) if is_lost else None
            await self._settle(call.digest, run, rest)
            told.set_exception(failure)
        else:
            await self._settle(call.digest, run, msgspec.structs.replace(run, answer=answer))
            told.set_result(answer)

    async def _settle(self, digest: str, run: Run, rest: Run | None) -> None:
        """Write what remains of it before it is told; later, if the store is away."""
        if not await self._is_settled(digest, run, rest):
            self._errands.run(self._settle_later(digest, run, rest))

    async def _settle_later(self, digest: str, run: Run, rest: Run | None) -> None:
        while not await self._is_settled(digest, run, rest):  # noqa: ASYNC110 - no event comes
            await asyncio.sleep(_SETTLE_AGAIN_SECONDS)

    async def _is_settled(self, digest: str, run: Run, rest: Run | None) -> bool:
        try:
            if rest is None:
                await self._free(digest, run)
            else:
                await self._keep(digest, rest)
        except Conflict:
            log.info("execution %s: its record is another's or settled already", run.execution)
        except StoreUnavailable as away:
            log.warning("execution %s: its answer is not kept yet: %s", run.execution, away)
            return False
        return True

    async def _free(self, digest: str, run: Run) -> None:
        """As it was before that run. Raises Conflict."""
        if not run.after:
            await self._runs.forget(digest, run)
            return
        before = msgspec.structs.replace(run, execution=run.after, after="")
        await self._put(digest, _loss(before, told=True))

    async def _keep(self, digest: str, rest: Run) -> None:
        try:
            await self._put(digest, rest)
        except ValueTooLarge:
            assert rest.answer is not None
            unkept = msgspec.structs.replace(rest.answer, body=None)
            await self._put(digest, msgspec.structs.replace(rest, answer=unkept))


def _loss(run: Run, *, told: bool) -> Run:
    return msgspec.structs.replace(run, owner=_NOBODY, told=told)


def _may_have_happened(call: Keyed, failure: Exception) -> bool:
    """And may not happen again unless somebody says so."""
    return (
        not call.idempotent and isinstance(failure, AnyPodError) and failure.type == "worker-lost"
    )


def _check_same(found: Run, call: Keyed) -> None:
    if found.fingerprint != call.fingerprint:
        raise error(
            "idempotency-key-reused",
            "this key was given with another request; a new request needs a new key",
            execution=found.execution or None,
        )


def _seen(told: "asyncio.Future[Answer]") -> None:
    """Its caller may have left; the failure is nobody's then."""
    if not told.cancelled():
        told.exception()
