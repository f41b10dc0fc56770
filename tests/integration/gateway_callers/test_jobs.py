"""A job is its caller's: what it gave is told to nobody else, but to who administers the pool."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.jobs import ASYNC
from tests.support.rig import Answer, Rig, rig

ROOT = "root-key-of-these-tests-0123456789"
KEYS = {name: f"secret-of-{name}-0123456789" for name in ("ada", "bob", "reader")}
SOURCE = "def main(x: int):\n    return x\n"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    directory = tmp_path_factory.mktemp("guarded")
    keys = directory / "keys"
    keys.mkdir()
    (keys / "root").write_text(ROOT)
    for name, key in KEYS.items():
        verbs = ["read"] if name == "reader" else ["run"]
        (keys / name).write_text(json.dumps({"key": key, "verbs": verbs}))
    async with rig(directory, options=("--api-keys", str(keys)), key=ROOT) as made:
        await made.gateway.create(SOURCE, "p")
        yield made


async def ask(made: Rig, who: str, method: str, path: str, **options: object) -> Answer:
    headers = options.pop("headers", {})
    assert isinstance(headers, dict)
    authorization = {"Authorization": f"Bearer {KEYS.get(who, ROOT)}"}
    return await made.gateway.ask(method, path, headers=authorization | headers, **options)


async def submitted(made: Rig, who: str, **headers: str) -> str:
    """The id of a job that has ended."""
    given = {"json": {"inputs": {"x": 1}}, "headers": {**ASYNC, **headers}}
    answer = await ask(made, who, "POST", "/programs/p/run", **given)
    assert answer.status == 202, answer.body
    id_ = str(answer.document["id"])
    waiting = {"headers": {"Prefer": "wait=30"}}
    async with asyncio.timeout(60):
        while (await ask(made, "root", "GET", f"/jobs/{id_}", **waiting)).document["state"] in {
            "queued",
            "running",
        }:
            pass
    return id_


async def test_nobody_else_finds_a_job(guarded: Rig) -> None:
    id_ = await submitted(guarded, "ada")
    ways = [("GET", ""), ("GET", "/result"), ("GET", "/logs"), ("GET", "/events")]
    ways += [("POST", "/cancel"), ("DELETE", "")]
    for method, path in ways:
        answer = await ask(guarded, "bob", method, f"/jobs/{id_}{path}")
        assert (answer.status, answer.document["type"]) == (404, "job-not-found")
        assert (await ask(guarded, "reader", method, f"/jobs/{id_}{path}")).status == 403
    for who in ("ada", "root"):
        assert (await ask(guarded, who, "GET", f"/jobs/{id_}/result")).outputs == 1
    assert (await ask(guarded, "ada", "DELETE", f"/jobs/{id_}")).status == 204


async def test_a_list_has_the_callers_own(guarded: Rig) -> None:
    jobs = {who: await submitted(guarded, who) for who in ("ada", "bob")}
    for who, id_ in jobs.items():
        listed = (await ask(guarded, who, "GET", "/jobs")).document["items"]
        assert [one["id"] for one in listed] == [id_]
    everybodys = (await ask(guarded, "root", "GET", "/jobs")).document["items"]
    assert {one["id"] for one in everybodys} == set(jobs.values())


async def test_a_key_is_the_callers_own(guarded: Rig) -> None:
    key = {"Idempotency-Key": "same"}
    assert await submitted(guarded, "ada", **key) != await submitted(guarded, "bob", **key)


async def test_bringing_a_program_is_writing_though_nobody_waits(guarded: Rig) -> None:
    given = {"json": {"program": {"source": SOURCE}}, "headers": ASYNC}
    assert (await ask(guarded, "ada", "POST", "/run", **given)).status == 403
