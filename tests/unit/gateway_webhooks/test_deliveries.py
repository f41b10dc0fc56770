"""What nobody has foreseen is an attempt that failed, and no end that is never told."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.receiver import SECRET, Receiver, receiver

from anypod.api.jobs import new_job_id
from anypod.resources.workerpool import Webhooks as Policy
from anypod.store.job_records import Job, Webhook
from anypod.store.jobs import Ended, JobStore
from anypod.store.keys import PoolKeys
from anypod.store.kv import KeyValue
from anypod.store.open import open_store
from anypod.store.pool_watch import PoolWatch
from anypod_gateway.jobs.lease import Lease
from anypod_gateway.webhooks import deliveries
from anypod_gateway.webhooks.deliveries import Deliveries, Hooks, Site

KEYS = PoolKeys("default", "default")
PATIENCE = 30.0
NOW = datetime(2030, 1, 1, tzinfo=UTC)
HUSH = "path-that-is-a-secret"


@dataclasses.dataclass
class Scene:
    store: KeyValue
    receiver: Receiver
    failures: list[Exception]
    """Of what makes the message; then it makes one."""
    outcomes: list[str]

    def message(self, job: Job) -> bytes:
        if self.failures:
            raise self.failures.pop(0)
        return b"{}"

    async def ended(self) -> str:
        """A job that is to be told."""
        jobs = JobStore(self.store, KEYS)
        job = Job(
            id=new_job_id(),
            program="p",
            revision="ab" * 32,
            timeout_seconds=1.0,
            created_at=NOW,
            webhook=Webhook(f"{self.receiver.url}/{HUSH}"),
        )
        job = await jobs.accept(job, b"{}")
        end = Ended(job.to("cancelled", NOW, finished_at=NOW), b"{}")
        return (await jobs.end(end, await jobs.entry(job.id), 3600.0)).id

    async def settled(self, job: str) -> Webhook:
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await JobStore(self.store, KEYS).get(job)
                assert found is not None
                assert found.webhook is not None
                if found.webhook.state in ("delivered", "failed"):
                    return found.webhook
                await asyncio.sleep(0.01)


@asynccontextmanager
async def scene(directory: Path, *failures: Exception) -> AsyncIterator[Scene]:
    (directory / "secrets").mkdir()
    (directory / "secrets" / "default").write_text(SECRET)
    store = await asyncio.to_thread(open_store, f"sqlite:{directory / 'store.db'}")
    faults: list[str] = []
    async with receiver() as it:
        made = Scene(store, it, list(failures), [])
        hooks = Hooks(
            policy=lambda: Policy(allowed_networks=["127.0.0.1/32"]),
            message=made.message,
            to_come=lambda _: 0,
            attempted=made.outcomes.append,
            is_leaving=lambda: False,
            fault=faults.append,
        )
        telling = Deliveries(
            store,
            KEYS,
            "default",
            owner="g1",
            lease=Lease(store, lambda: 0.0),
            site=Site.of(directory / "secrets", ()),
            hooks=hooks,
        )
        watch = PoolWatch(store, KEYS)
        watch.add(KEYS.jobs.deliveries, telling.view)
        watching = asyncio.ensure_future(watch.run())
        telling.start()
        try:
            yield made
        finally:
            await telling.close()
            watching.cancel()
            await asyncio.wait({watching})
            await store.close()
    assert faults == []


async def test_an_attempt_at_which_the_gateway_failed_is_one_and_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deliveries, "FIRST_PAUSE", 0.01)
    failures = (RuntimeError(HUSH), RuntimeError(HUSH), KeyError(HUSH))
    async with scene(tmp_path, *failures) as made:
        job = await made.ended()
        webhook = await made.settled(job)
        assert (webhook.state, webhook.attempts) == ("delivered", 4)
        assert [one.id for one in made.receiver.told] == [job]
        assert made.outcomes == ["failed", "failed", "failed", "delivered"]
    errors = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert len(errors) == 2, "once for each kind"
    assert ("RuntimeError" in errors[0], "KeyError" in errors[1]) == (True, True)
    assert HUSH not in caplog.text


async def test_it_is_given_up_as_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "LONGEST_PAUSE", 0.01)
    failures = [RuntimeError() for _ in range(deliveries.MOST_ATTEMPTS)]
    async with scene(tmp_path, *failures) as made:
        webhook = await made.settled(await made.ended())
        assert (webhook.state, webhook.attempts) == ("failed", deliveries.MOST_ATTEMPTS)
        assert webhook.problem == "the gateway failed at it"
        assert made.receiver.told == []
