"""What a program says of how far it is reaches whoever follows its job, through any gateway."""

import asyncio
from pathlib import Path

import pytest
from tests.support.jobs import PATIENCE, accepted, ended, events, job
from tests.support.rig import Rig

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_progress_is_seen_while_it_runs_and_kept_at_the_end(pair: Rig, file: Path) -> None:
    here, there = pair.gateways
    id_ = await accepted(here, "tells", file=str(file))
    url = f"{there.base}/jobs/{id_}/events"
    async with asyncio.timeout(PATIENCE), pair.http.get(url) as reading:
        body = b""
        while b"half" not in body:
            body += await reading.content.readuntil(b"\n\n")
        for gateway in pair.gateways:
            while (told := (await job(gateway, id_))["progress"]) is None:
                await asyncio.sleep(0.02)
            assert told == {"done": 1.0, "total": 2.0, "message": "half"}
        file.touch()
        body += await reading.read()
    kinds = [(kind, data.get("state") or data["message"]) for kind, _, data in events(body)]
    assert kinds[-2:] == [("progress", "all"), ("state", "succeeded")]
    again = await here.ask("GET", f"/jobs/{id_}/events", headers={"Last-Event-ID": "3"})
    assert events(again.body) == []
    found = await ended(here, id_)
    assert found["progress"] == {"done": 2.0, "total": 2.0, "message": "all"}


async def test_much_of_it_costs_little_and_the_last_word_counts(pair: Rig) -> None:
    id_ = await accepted(pair.gateway, "tells", many=100_000)
    found = await ended(pair.gateway, id_)
    assert found["progress"]["message"] == "all"
    body = (await pair.gateway.ask("GET", f"/jobs/{id_}/events")).body
    assert [kind for kind, _, _ in events(body)].count("progress") == 1


async def test_threads_may_tell_and_children_and_nonsense_are_not_heard(pair: Rig) -> None:
    id_ = await accepted(pair.gateway, "tells", odd=True)
    found = await ended(pair.gateway, id_)
    assert found["state"] == "succeeded"
    assert (await pair.gateway.ask("GET", f"/jobs/{id_}/result")).outputs == "refused"
    assert found["progress"] == {"done": 1.0, "total": None, "message": "from a thread ?"}


async def test_where_nobody_follows_it_does_nothing(pair: Rig) -> None:
    assert (await pair.gateway.run("tells", many=1000)).outputs == "done"
