"""Whoever asked for it is told of a job's end: signed, and again until they say yes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.jobs import NOTE, PATIENCE, accepted, ended, job
from tests.support.receiver import SECRET, receiver
from tests.support.rig import Rig, pool_of, rig

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """Two gateways, whose pool lets webhooks go to 127.0.0.1, and nowhere else inside."""
    directory = tmp_path_factory.mktemp("webhooks")
    secrets = directory / "secrets"
    secrets.mkdir()
    (secrets / "default").write_text(SECRET)
    pool = pool_of(executors=4, webhooks={"allowedNetworks": ["127.0.0.1/32"]})
    options = ("--webhook-secrets", str(secrets))
    async with rig(directory, pool=pool, gateways=2, options=options) as made:
        await made.gateway.create(NOTE, "note")
        yield made


async def submit(made: Rig, url: str, file: Path, **inputs: Any) -> str:
    return await accepted(
        made.gateway, "note", headers={"Webhook-URL": url}, file=str(file), **inputs
    )


async def settled(made: Rig, id_: str) -> dict[str, Any]:
    """The job's webhook, when nothing more is to come."""
    async with asyncio.timeout(PATIENCE):
        while True:
            webhook: dict[str, Any] = (await job(made.gateway, id_))["webhook"]
            if webhook["state"] in ("delivered", "failed"):
                return webhook
            await asyncio.sleep(0.02)


async def test_a_jobs_end_is_told_and_signed(pair: Rig, file: Path) -> None:
    async with receiver() as it:
        id_ = await submit(pair, it.url, file)
        (told,) = await it.heard(id_)
        assert told.is_signed
        found = await ended(pair.gateway, id_)
        del found["webhook"]
        assert told.document == {
            "type": "job.succeeded",
            "timestamp": found["finishedAt"],
            "data": found,
        }
        webhook = await settled(pair, id_)
        origin = it.url.removesuffix("/ended")
        assert webhook == {
            "origin": origin,
            "state": "delivered",
            "attempts": 1,
            "problem": None,
        }


async def test_it_is_told_again_until_the_receiver_says_yes(pair: Rig, file: Path) -> None:
    async with receiver() as it:
        it.say(500, 503)
        id_ = await submit(pair, it.url, file)
        told = await it.heard(id_, 3)
        assert all(one.is_signed for one in told)
        assert len({one.body for one in told}) == 1
        webhook = await settled(pair, id_)
        assert (webhook["state"], webhook["attempts"]) == ("delivered", 3)
