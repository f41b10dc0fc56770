"""Whoever asked for it is told of a job's end: signed, and again until they say yes."""

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.cluster.certificates import Authority
from tests.support.jobs import NOTE, PATIENCE, accepted, ended, job, running
from tests.support.jobs import submit as submitted
from tests.support.receiver import SECRET, receiver
from tests.support.rig import Answer, Rig, pool_of, rig

from anypod.api.jobs import new_job_id
from anypod.api.webhooks import new_secret
from anypod.store.job_records import Delivery
from anypod.store.keys import PoolKeys
from anypod.store.kv import Put
from anypod.store.open import open_store
from anypod.store.records import encode
from anypod_gateway.webhooks.deliveries import MOST_OF_ONE, MOST_OPEN

pytestmark = pytest.mark.asyncio(loop_scope="module")


AT_ONCE = 100
HUSH = "path-that-is-a-secret"
ROOT = "root-key-of-these-tests-0123456789"


async def started(
    made: Rig, directory: Path, gateways: int, *options: str, impatient: bool = False
) -> Path:
    """Gateways that sign with SECRET, and the file that has it."""
    (directory / "secrets").mkdir()
    file = directory / "secrets" / "default"
    file.write_text(SECRET)
    for _ in range(gateways):
        await made.add_gateway("--webhook-secrets", str(file.parent), *options, impatient=impatient)
    await made.linked()
    await made.gateway.create(NOTE, "note")
    return file


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("certificates") / "authority")
    made.create()
    made.issue("receiver", "/CN=receiver", "IP:127.0.0.1")
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> AsyncIterator[Rig]:
    """Two gateways, whose pool lets webhooks go to 127.0.0.1, and nowhere else inside."""
    directory = tmp_path_factory.mktemp("webhooks")
    pool = pool_of(executors=4, webhooks={"allowedNetworks": ["127.0.0.1/32"]})
    async with rig(directory, pool=pool, gateways=0) as made:
        made.environment["SSL_CERT_FILE"] = str(authority.certificate)
        await started(made, directory, 2)
        yield made


def tls_of(authority: Authority) -> ssl.SSLContext:
    mine, made = authority.issued("receiver"), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(mine.certificate, mine.key)
    return made


async def submit(made: Rig, url: str, file: Path, **inputs: Any) -> str:
    return await accepted(
        made.gateway, "note", headers={"Webhook-URL": url}, file=str(file), **inputs
    )


async def attempted(made: Rig, id_: str, attempts: int) -> dict[str, Any]:
    """The job's webhook, when it was tried that often."""
    async with asyncio.timeout(PATIENCE):
        while True:
            webhook: dict[str, Any] = (await job(made.gateway, id_))["webhook"]
            if webhook["attempts"] >= attempts:
                return webhook
            await asyncio.sleep(0.02)


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


async def test_over_tls_the_receivers_certificate_must_be_trusted(
    pair: Rig, file: Path, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    await asyncio.to_thread(other.create)
    await asyncio.to_thread(other.issue, "receiver", "/CN=receiver", "IP:127.0.0.1")
    async with (
        receiver(secured=tls_of(authority)) as trusted,
        receiver(secured=tls_of(other)) as untrusted,
    ):
        id_ = await submit(pair, trusted.url, file)
        (told,) = await trusted.heard(id_)
        assert told.is_signed
        id_ = await submit(pair, untrusted.url, file)
        webhook = await attempted(pair, id_, 1)
        assert webhook["problem"] == "it showed no certificate that could be trusted"
        assert webhook["state"] == "pending"
        assert untrusted.told == []


async def test_every_end_is_told_as_what_it_is(pair: Rig, file: Path) -> None:
    async with receiver() as it:
        fails = await submit(pair, it.url, file, fail_first=9)
        (told,) = await it.heard(fails)
        assert told.document["type"] == "job.failed"
        assert told.document["data"]["problem"]["type"] == "program-error"
        runs = await submit(pair, it.url, file, seconds=60)
        await running(pair.gateway, runs)
        later = {"Webhook-URL": it.url}
        waits = await accepted(
            pair.gateway, "note", "?notBefore=2040-01-01T00:00:00Z", later, file=str(file)
        )
        for id_ in (runs, waits):
            assert (await job(pair.gateway, id_))["webhook"]["state"] == "waiting"
            await pair.gateway.ask("POST", f"/jobs/{id_}/cancel")
            (told,) = await it.heard(id_)
            assert told.document["type"] == "job.cancelled"


async def test_a_redirect_is_no_yes_and_leads_nowhere(pair: Rig, file: Path) -> None:
    async with receiver() as it, receiver() as inside:
        it.say(302, Location=inside.url)
        id_ = await submit(pair, it.url, file)
        assert (await settled(pair, id_))["attempts"] == 2
        assert inside.told == []


async def test_who_is_gone_is_not_told_again(pair: Rig, file: Path) -> None:
    async with receiver() as it:
        it.say(410)
        webhook = await settled(pair, await submit(pair, it.url, file))
        assert (webhook["state"], webhook["attempts"]) == ("failed", 1)
        assert webhook["problem"] == "it answered 410"


async def test_a_name_for_what_is_inside_gets_nowhere(pair: Rig, file: Path) -> None:
    """127.0.0.2 is not what the pool allows; the name is looked up when it is called."""
    async with receiver(host="127.0.0.2") as it:
        port = it.url.rpartition(":")[2]
        for url in (f"http://0x7f000002:{port}", f"https://[::ffff:127.0.0.2]:{port}"):
            answer = await submitted(pair.gateway, "note", "", {"Webhook-URL": url}, file=str(file))
            if answer.status == 202:
                webhook = await settled(pair, answer.document["id"])
                assert (webhook["state"], webhook["attempts"]) == ("failed", 1)
            else:
                assert (answer.status, answer.document["path"]) == (400, "Webhook-URL")
        assert it.told == []


@pytest.mark.timeout(400)  # each attempt that hangs has its time, and so has the pause after it
async def test_those_that_hang_do_not_hold_up_the_others(pair: Rig, file: Path) -> None:
    """Two gateways have 32 places, of which 12 such receivers could have four each; each has more
    to be told than all its places can try by then."""
    async with contextlib.AsyncExitStack() as stack:
        hanging = [await stack.enter_async_context(receiver()) for _ in range(12)]
        for one in hanging:
            one.let_go.clear()
        stuck = [[await submit(pair, one.url, file) for _ in range(8)] for one in hanging]
        for one, jobs in zip(hanging, stuck, strict=True):
            await one.heard(jobs[0])
        for _ in range(2):  # what is known of those that hang by then: nothing; that they do
            async with receiver() as answers:
                id_ = await submit(pair, answers.url, file)
                await answers.heard(id_)
                assert (await settled(pair, id_))["state"] == "delivered"
            waiting = [(await job(pair.gateway, jobs[-1]))["webhook"] for jobs in stuck]
            assert any(one["attempts"] == 0 for one in waiting)
            for jobs in stuck:
                await attempted(pair, jobs[0], 1)
        for one in hanging:
            one.let_go.set()
        for id_ in itertools.chain(*stuck):
            assert (await settled(pair, id_))["state"] == "delivered"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.2/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://100.64.0.1/",
        "ftp://example.com/",
        f"https://ada:{HUSH}@example.com/",
        f"{HUSH}",
    ],
)
async def test_what_must_not_or_cannot_be_called_is_refused_at_once(
    pair: Rig, file: Path, url: str
) -> None:
    answer = await submitted(pair.gateway, "note", "", {"Webhook-URL": url}, file=str(file))
    assert (answer.status, answer.document["type"]) == (400, "bad-request")
    assert answer.document["path"] == "Webhook-URL"
    assert HUSH not in answer.body.decode()


async def test_what_is_no_job_is_refused_with_a_webhook_and_does_not_run(
    pair: Rig, file: Path
) -> None:
    headers = {"Webhook-URL": "https://example.com/ended"}
    inputs = {"file": str(file)}
    inline = {"program": {"source": NOTE}, "inputs": inputs}
    line = json.dumps({"inputs": inputs}).encode()
    ndjson = {"Content-Type": "application/x-ndjson"}
    runs: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        ("/programs/note/run", {"json": {"inputs": inputs}}, {}),
        ("/programs/note/run", {"json": {"inputs": inputs}}, {"Accept": "text/event-stream"}),
        ("/programs/note/run", {"json": {"inputs": inputs}}, {"Idempotency-Key": "w-4"}),
        ("/programs/note/run", {"json": {"inputs": inputs}}, {"Prefer": "wait=10"}),
        ("/run", {"json": inline}, {}),
        ("/programs/note/map", {"data": line}, ndjson),
    ]
    for path, body, more in runs:
        answer = await pair.gateway.ask("POST", path, headers=headers | more, **body)
        assert (answer.status, answer.document["type"]) == (400, "bad-request"), path
        assert answer.document["path"] == "Webhook-URL"
        assert "Prefer: respond-async" in answer.document["detail"]
    assert not file.exists()


async def test_a_job_that_is_deleted_is_told_no_more(pair: Rig, file: Path) -> None:
    async with receiver() as it:
        it.say(*[500] * 20)
        id_ = await submit(pair, it.url, file)
        await it.heard(id_)
        assert (await pair.gateway.ask("DELETE", f"/jobs/{id_}")).status == 204
        assert (await pair.gateway.ask("GET", f"/jobs/{id_}")).status == 404
        count = len(it.of(id_))  # one may be on its way
        it.answers.clear()
        await it.heard(await submit(pair, it.url, file))
        assert len(it.of(id_)) <= count + 1


async def test_neither_secret_nor_url_is_told_to_anybody(pair: Rig, file: Path) -> None:
    async with receiver() as it:
        it.say(500)
        id_ = await submit(pair, f"{it.url}/{HUSH}?token={HUSH}", file)
        await settled(pair, id_)
    told = [(await one.ask("GET", "//metrics")).body.decode() for one in pair.gateways]
    assert any('anypod_webhook_attempts_total{outcome="failed"' in one for one in told)
    told += [await one.log() for one in pair.gateways]
    told.append((await pair.gateway.ask("GET", f"/jobs/{id_}")).body.decode())
    told.append((await pair.gateway.ask("GET", f"/jobs/{id_}/events")).body.decode())
    for text in told:
        assert HUSH not in text
        assert SECRET.removeprefix("whsec_") not in text


async def test_a_repeated_request_under_a_key_is_another_one_if_its_webhook_is(
    pair: Rig, file: Path
) -> None:
    async with receiver() as it:
        keyed = {"Idempotency-Key": "w-1", "Webhook-URL": it.url}
        ids = {
            await accepted(pair.gateways[n], "note", headers=keyed, file=str(file))
            for n in range(2)
        }
        assert len(ids) == 1
        keyed["Webhook-URL"] += "/other"
        answer = await submitted(pair.gateway, "note", "", keyed, file=str(file))
        assert answer.document["type"] == "idempotency-key-reused"
        await it.heard(ids.pop())


async def ends_that_wait(url: str, count: int, caller: str = "") -> None:
    """In the store of that URL: to be told in an hour."""
    store = await asyncio.to_thread(open_store, url)
    keys = PoolKeys("default", "default").jobs
    for _ in range(0, count, AT_ONCE):
        later = [Delivery(job=new_job_id(), caller=caller, pause=3600.0) for _ in range(AT_ONCE)]
        await store.commit([Put(keys.delivery(one.job), encode(one)) for one in later])
    await store.close()


async def test_ends_that_wait_are_bounded_and_refuse_no_repeated_request(
    tmp_path: Path, file: Path
) -> None:
    pool = pool_of(webhooks={"allowedNetworks": ["127.0.0.1/32"]})
    async with receiver() as it, rig(tmp_path, pool=pool, gateways=0) as made:
        await started(made, tmp_path, 1)
        hook = {"Webhook-URL": it.url}
        keyed = {"Idempotency-Key": "w-2", **hook}
        first = await accepted(made.gateway, "note", headers=keyed, file=str(file))
        await ends_that_wait(made.store, MOST_OPEN)
        async with asyncio.timeout(PATIENCE):
            while (await submitted(made.gateway, "note", "", hook, file=str(file))).status != 429:
                await asyncio.sleep(0.1)
        full = await submitted(made.gateway, "note", "", hook, file=str(file))
        assert (full.status, full.document["type"]) == (429, "queue-full")
        assert int(full.headers["Retry-After"]) > 0
        assert await accepted(made.gateway, "note", headers=keyed, file=str(file)) == first
        await accepted(made.gateway, "note", file=str(file))


async def test_what_one_caller_has_waiting_is_bounded_and_refuses_nobody_else(
    tmp_path: Path, file: Path
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "root").write_text(ROOT)
    for name in ("ada", "bob"):
        (keys / name).write_text(json.dumps({"key": f"{ROOT}-{name}", "verbs": ["run"]}))
    pool = pool_of(webhooks={"allowedNetworks": ["127.0.0.1/32"]})
    async with receiver() as it, rig(tmp_path, pool=pool, gateways=0, key=ROOT) as made:
        await started(made, tmp_path, 1, "--api-keys", str(keys))
        hook = {"Webhook-URL": it.url}

        async def asked(who: str, **headers: str) -> Answer:
            given = {"Authorization": f"Bearer {ROOT}-{who}", **hook, **headers}
            later = "?notBefore=2040-01-01T00:00:00Z"
            return await submitted(made.gateway, "note", later, given, file=str(file))

        first = await asked("ada", **{"Idempotency-Key": "w-3"})
        assert first.status == 202
        await ends_that_wait(made.store, MOST_OF_ONE - AT_ONCE, "KeyCaller:ada")
        ids = [first.document["id"]]
        async with asyncio.timeout(PATIENCE):  # some more get in while the gateway learns of them
            while (full := await asked("ada")).status == 202:
                ids.append(full.document["id"])
        assert len(ids) >= AT_ONCE
        assert full.status == 429
        assert full.document["type"] == "queue-full"
        assert f"a caller may have {MOST_OF_ONE}" in full.document["detail"]
        assert int(full.headers["Retry-After"]) > 0
        again = await asked("ada", **{"Idempotency-Key": "w-3"})
        assert again.document["id"] == ids[0]
        assert (await asked("bob")).status == 202
        for id_ in ids[AT_ONCE - 1 :]:
            await made.gateway.ask("POST", f"/jobs/{id_}/cancel")
            await it.heard(id_)
        async with asyncio.timeout(PATIENCE):  # there is room for one again
            while (await asked("ada")).status != 202:
                await asyncio.sleep(0.1)
        del hook["Webhook-URL"]
        assert (await asked("ada")).status == 202


async def test_the_receiver_of_the_documentation_believes_us_and_nobody_else(
    pair: Rig, file: Path
) -> None:
    text = (Path(__file__).parents[3] / "docs" / "jobs.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (source,) = [one for one in blocks if "class Receiver" in one]
    source = source.replace("HTTPServer((", "server = HTTPServer((", 1).replace(
        ".serve_forever()", "\nprint(server.server_port, flush=True)\nserver.serve_forever()"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", source),
        env=os.environ | {"WEBHOOK_SECRET": SECRET, "PORT": "0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            url = f"http://127.0.0.1:{int(await process.stdout.readline())}/ended"
            id_ = await submit(pair, url, file)
            assert await process.stdout.readline() == f"{id_} succeeded\n".encode()
        assert (await settled(pair, id_))["state"] == "delivered"
        forged = {"webhook-id": id_, "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
        async with pair.http.post(url, headers=forged, data=b"{}") as answer:
            assert answer.status == 401
    finally:
        process.kill()
        await process.wait()


async def test_an_end_is_told_though_the_gateway_dies_that_was_at_it(
    tmp_path: Path, file: Path
) -> None:
    """And another secret signs from then on, without anybody being told so."""
    pool = pool_of(webhooks={"allowedNetworks": ["127.0.0.1/32"]})
    async with receiver() as it, rig(tmp_path, pool=pool, gateways=0) as made:
        secret = await started(made, tmp_path, 1, impatient=True)
        it.let_go.clear()
        id_ = await submit(made, it.url, file)
        await it.heard(id_)
        first = made.gateways.pop()
        await first.stop(signal.SIGKILL)
        new = new_secret()
        secret.write_text(new)
        it.let_go.set()
        await made.add_gateway("--webhook-secrets", str(secret.parent))
        before, after = await it.heard(id_, 2)
        assert (before.id, before.body) == (after.id, after.body)
        assert before.is_signed
        assert after.is_signed_with(new)
        webhook = await settled(made, id_)
        assert (webhook["state"], webhook["attempts"]) == ("delivered", 1)
        assert (await ended(made.gateway, id_))["state"] == "succeeded"
