"""Whatever gateways do to jobs, in whatever order and however late: what one of them does holds, or
is refused, exactly as a model of one line per job says; and no job is anybody's twice."""

import asyncio
import itertools
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from anypod.api.jobs import new_job_id
from anypod.store.job_records import Claim, Job
from anypod.store.job_view import JobView
from anypod.store.jobs import Ended, Held, JobStore, Loaded
from anypod.store.keys import PoolKeys
from anypod.store.kv import Conflict, Entry, KeyValue
from anypod.store.open import open_store

GATEWAYS = 3
SLOTS = 2
KEEP = 3600.0
NOW = datetime(2030, 1, 1, tzinfo=UTC)

_pools = itertools.count()


@dataclass
class Model:
    """A job as it must be."""

    entry: int
    """Version of its open entry, 0 when it is final."""
    record: int
    """Version of its record, 0 when it was deleted."""
    state: str = "queued"
    session: str | None = None
    claim: int = 0
    slot: int | None = None
    holder: int | None = None
    waits: bool = False
    """It was put back, for an hour."""
    asked_to_end: bool = False
    runs: int = 0


@dataclass(frozen=True)
class Read:
    """What a gateway once read of a job."""

    loaded: Loaded
    entry: int


class Machine(RuleBasedStateMachine):
    jobs = Bundle("jobs")
    reads = Bundle("reads")
    helds = Bundle("helds")

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.loop = asyncio.new_event_loop()
        self.keys = PoolKeys("jobs", f"p{next(_pools)}")
        self.model: dict[str, Model] = {}
        self.leases: list[int] = []
        self.opened: KeyValue | None = None
        self.store: Any = None

    def do(self, what: Awaitable[Any]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(30):
                return await what

        return self.loop.run_until_complete(bounded())

    def holds(self, what: Awaitable[Any], expected: bool) -> Any:
        """What it gives; None when it is refused. It is refused when it is to be."""
        try:
            done = self.do(what)
        except Conflict:
            assert not expected
            return None
        assert expected
        return done

    @initialize()
    def begin(self) -> None:
        self.reopen()
        self.leases = [self.do(self.kv.grant(600)) for _ in range(GATEWAYS)]

    @property
    def kv(self) -> KeyValue:
        assert self.opened is not None
        return self.opened

    @rule()
    def reopen(self) -> None:
        """Another process of a gateway: it knows what the store says."""
        if self.opened is not None:
            self.do(self.opened.close())
        self.opened = open_store(self.url)
        self.store = JobStore(self.kv, self.keys)

    @rule(target=jobs, session=st.sampled_from([None, "s"]), idempotent=st.booleans())
    def accept(self, session: str | None, idempotent: bool) -> str:
        job = Job(
            id=new_job_id(),
            program="p",
            revision="ab" * 32,
            timeout_seconds=1,
            created_at=NOW,
            session=session,
            idempotent=idempotent,
            max_attempts=3,
        )
        accepted = self.do(self.store.accept(job, b"{}"))
        self.model[job.id] = Model(accepted.version, accepted.version, session=session)
        self.holds(self.store.accept(job, b"{}"), expected=False)
        return job.id

    @rule(target=reads, job=jobs)
    def read(self, job: str) -> Read | None:
        loaded = self.do(self.store.load(job))
        model = self.model[job]
        assert (loaded is not None) == bool(model.entry)
        if loaded is None:
            return None
        assert (loaded.job.version, loaded.job.state) == (model.record, model.state)
        return Read(loaded, self.do(self.store.entry(job)))

    @rule(
        target=helds,
        read=reads,
        gateway=st.integers(0, GATEWAYS - 1),
        slot=st.integers(0, SLOTS - 1),
        knows=st.booleans(),
    )
    def claim(
        self, read: Read | None, gateway: int, slot: int, knows: bool
    ) -> tuple[int, Held] | None:
        """``knows``: of the pause that the job may have."""
        if read is None:
            return None
        job = read.loaded.job
        model = self.model[job.id]
        taken = {one.slot for one in self.model.values()}
        may = (
            not model.claim
            and slot not in taken
            and model.entry == read.entry
            and model.record == job.version
            and (knows or not model.waits)
        )
        pause = self._view().pause(job.id) if knows else 0
        begun = msgspec.structs.replace(job, attempts=job.attempts + 1).to("running", NOW)
        claim = Claim(owner=f"{gateway}", slot=slot)
        made = self.store.claim(begun, read.entry, claim, self.leases[gateway], pause=pause)
        held: Held | None = self.holds(made, may)
        if held is None:
            return None
        model.claim = model.record = held.claim
        model.slot, model.holder, model.state = slot, gateway, "running"
        model.runs += 1
        model.waits = False
        return gateway, held

    def _is_own(self, held: Held) -> bool:
        model = self.model[held.job.id]
        return model.claim == held.claim and model.record == held.job.version

    @rule(held=helds, waits=st.booleans())
    def release(self, held: tuple[int, Held] | None, waits: bool) -> None:
        if held is None:
            return
        own, model = held[1], self.model[held[1].job.id]
        may = self._is_own(own)
        pause = 3600.0 if waits else 0.0
        self.holds(self.store.release(own, own.job.to("queued", NOW), pause), may)
        if may:
            model.waits = waits
            self._let_go(model)
            model.state = "queued"
            model.record = self.do(self.store.get(own.job.id)).version

    @rule(held=helds, state=st.sampled_from(["succeeded", "failed", "cancelled"]))
    def finish(self, held: tuple[int, Held] | None, state: Any) -> None:
        if held is None:
            return
        own = held[1]
        may = self._is_own(own)
        ended = Ended(own.job.to(state, NOW, finished_at=NOW), b'{"outputs":1}')
        job = self.holds(self.store.finish(own, ended, KEEP), may)
        if job is not None:
            self._final(job)

    @rule(read=reads, state=st.sampled_from(["cancelled", "lost"]))
    def end_unclaimed(self, read: Read | None, state: Any) -> None:
        if read is None:
            return
        job = read.loaded.job
        model = self.model[job.id]
        may = not model.claim and model.entry == read.entry and model.record == job.version
        ended = self.store.end(Ended(job.to(state, NOW), b"{}"), read.entry, KEEP)
        job = self.holds(ended, may)
        if job is not None:
            self._final(job)

    @rule(read=reads)
    def ask_for_its_end(self, read: Read | None) -> None:
        if read is not None:
            job, model = read.loaded.job.id, self.model[read.loaded.job.id]
            may = model.entry == read.entry
            self.holds(self.store.cancel(job, read.entry), may)
            model.asked_to_end = model.asked_to_end or may

    @rule(gateway=st.integers(0, GATEWAYS - 1))
    def die(self, gateway: int) -> None:
        """Its lease ends; another gateway comes."""
        self.do(self.kv.revoke(self.leases[gateway]))
        for model in self.model.values():
            if model.holder == gateway:
                self._let_go(model)
        self.leases[gateway] = self.do(self.kv.grant(600))

    @rule(job=jobs)
    def delete(self, job: str) -> None:
        found = self.do(self.store.get(job))
        if found is not None and not found.is_open:
            self.do(self.store.delete(found))
            self.model[job].record = 0

    def _let_go(self, model: Model) -> None:
        model.claim, model.slot, model.holder = 0, None, None

    def _final(self, job: Job) -> None:
        model = self.model[job.id]
        self._let_go(model)
        model.entry, model.record, model.state = 0, job.version, job.state

    @invariant()
    @precondition(lambda self: self.store is not None)
    def what_is_watched_is_what_is_open(self) -> None:
        view = self._view()
        open_ = {id_: model for id_, model in self.model.items() if model.entry}
        assert {job.id: job.version for job in view.open.values()} == {
            id_: model.entry for id_, model in open_.items()
        }
        assert view.claims.keys() == {id_ for id_, model in open_.items() if model.claim}
        slots = [model.slot for model in open_.values() if model.slot is not None]
        assert sorted(view.slots) == sorted(slots)
        first = min((m.entry for m in open_.values() if m.session), default=None)
        for job in view.may_run(NOW):
            model = open_[job.id]
            assert not model.claim
            assert not model.waits or model.asked_to_end
            assert job.session is None or job.version == first

    def _view(self) -> JobView:
        entries: list[Entry] = self.do(self.kv.page(self.keys.jobs.watched)).entries
        view = JobView(self.keys.jobs, lambda _: None)
        view.reset(entries)
        return view

    def teardown(self) -> None:
        if self.opened is not None:
            self.do(self._check_what_is_left())
            self.do(self.opened.close())
        self.loop.close()

    async def _check_what_is_left(self) -> None:
        """What has ended leaves a record and a result, and nothing else."""
        page = await self.kv.page(self.keys.jobs.root, values=False)
        kinds: dict[str, set[str]] = {}
        for entry in page.entries:
            kind, _, job = entry.key.removeprefix(self.keys.jobs.root).partition("/")
            kinds.setdefault(job, set()).add(kind)
        for id_, model in self.model.items():
            expected = {"records", "inputs"} if model.entry else {"records", "results"}
            assert kinds.get(id_, set()) == (expected if model.record else set())


@pytest.mark.timeout(300)
def test_jobs_are_what_a_model_says(url: str) -> None:
    run_state_machine_as_test(
        lambda: Machine(url),
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
