"""A gateway with API keys: who may call it, what for, and what it says of that."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from multidict import CIMultiDict
from tests.support.rig import Answer, Gateway, Rig, rig

from anypod_gateway.callers.attempts import BURST
from anypod_gateway.callers.rights import VERBS
from anypod_gateway.openapi import document
from anypod_gateway.routes import TABLE

ROOT = "root-key-of-these-tests-0123456789"
PATIENCE = 30.0
SOURCE = "def main(x: int):\n    return x\n"
STREAM = "def main(n: int):\n    for i in range(n):\n        yield i\n"


def key_of(name: str) -> str:
    return f"secret-of-{name}-0123456789"


@dataclass
class Guarded:
    made: Rig
    keys: Path

    @property
    def gateway(self) -> Gateway:
        return self.made.gateway

    async def ask(self, key: str, method: str, path: str, **options: Any) -> Answer:
        headers = {"Authorization": f"Bearer {key}", **options.pop("headers", {})}
        return await self.gateway.ask(method, path, headers=headers, **options)

    async def give(self, name: str, content: Any) -> None:
        """Write a key's file; JSON unless it is text."""
        text = content if isinstance(content, str) else json.dumps(content)
        await asyncio.to_thread((self.keys / name).write_text, text)

    async def until(self, status: int, key: str, path: str = "") -> None:
        """Until the gateway has read the keys."""
        async with asyncio.timeout(PATIENCE):
            while (await self.ask(key, "GET", path)).status != status:
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    directory = tmp_path_factory.mktemp("guarded")
    keys = directory / "keys"
    keys.mkdir()
    (keys / "root").write_text(ROOT)
    for verb in VERBS:
        (keys / f"only-{verb}").write_text(json.dumps({"key": key_of(verb), "verbs": [verb]}))
    elsewhere = {"key": key_of("elsewhere"), "pools": ["other", "team-*", "default.ns"]}
    (keys / "elsewhere").write_text(json.dumps(elsewhere))
    async with rig(directory, options=("--api-keys", str(keys)), key=ROOT) as made:
        guarded = Guarded(made, keys)
        await made.gateway.create(SOURCE, "p")
        await made.gateway.create(STREAM, "streams")
        yield guarded


pytestmark = pytest.mark.asyncio(loop_scope="module")

FILLED = {"{pool}": "default", "{program_ref}": "p", "{program}": "p", "{session}": "s"}
ROUTES = [(route.method, route.path, route.needs) for route in TABLE]


def filled(path: str) -> str:
    for name, value in {**FILLED, "{worker}": "w1", "{job}": "j-" + "0" * 32}.items():
        path = path.replace(name, value)
    return path


@pytest.mark.parametrize(("method", "path", "needs"), ROUTES)
async def test_every_route_asks_for_its_verb(
    guarded: Guarded, method: str, path: str, needs: str
) -> None:
    """With each other verb alone it is refused before it is looked at."""
    target = "/" + filled(path)
    if needs == "open":
        async with guarded.made.http.request(
            method, guarded.gateway.url + filled(path), headers={"Authorization": ""}
        ) as answer:
            assert answer.status == 200
        return
    for verb in VERBS:
        answer = await guarded.ask(key_of(verb), method, target, data=b"\xff no json")
        if path == "/v1/pools":
            assert answer.status == 200
            assert bool(answer.document["items"]) is (verb == needs)
        elif verb == needs:
            assert answer.status not in {401, 403}, answer.body
        else:
            assert answer.status == 403
            assert answer.document["type"] == "forbidden"
            assert answer.document["detail"] == f"this needs the verb {needs!r} in pool 'default'"
    unknown = await guarded.ask("nobody-has-this-key-0123", method, target)
    assert unknown.status in {401, 429}
    assert await still_there(guarded)


async def still_there(guarded: Guarded) -> bool:
    """The loop above deletes the program with the key that may."""
    if (await guarded.ask(ROOT, "GET", "/programs/p")).status == 404:
        await guarded.gateway.create(SOURCE, "p")
    return (await guarded.gateway.run("p", x=1)).outputs == 1


async def test_a_head_needs_what_a_get_needs(guarded: Guarded) -> None:
    assert (await guarded.ask(key_of("read"), "HEAD", "")).status == 200
    assert (await guarded.ask(key_of("run"), "HEAD", "")).status == 403


async def test_a_run_passes_by_both_ways(guarded: Guarded) -> None:
    """Past the router, and by it; streamed too."""
    for path in ("/programs/p/run", "/programs/%70/run", "/programs/p/run?logs=true"):
        body = {"inputs": {"x": 3}}
        answer = await guarded.ask(key_of("run"), "POST", path, json=body)
        assert answer.outputs == 3
        for key in (key_of("write"), key_of("elsewhere")):
            assert (await guarded.ask(key, "POST", path, json=body)).status == 403
    events = {"Accept": "text/event-stream"}
    streamed = await guarded.ask(
        key_of("run"), "POST", "/programs/streams/run", json={"inputs": {"n": 3}}, headers=events
    )
    assert streamed.body.count(b"event: chunk") == 3


async def test_pools_that_a_key_has_no_rights_in_do_not_show(guarded: Guarded) -> None:
    """Not even whether they are there."""
    there = await guarded.ask(key_of("elsewhere"), "GET", "")
    absent = await guarded.ask(key_of("elsewhere"), "GET", "//v1/pools/absent")
    assert (there.status, absent.status) == (403, 403)
    assert there.document["detail"].replace("default", "absent") == absent.document["detail"]
    own = await guarded.ask(key_of("elsewhere"), "GET", "//v1/pools/team-a")
    assert (own.status, own.document["type"]) == (404, "pool-not-found")
    listed = await guarded.ask(key_of("elsewhere"), "GET", "//v1/pools")
    assert listed.document == {"items": [], "next": None}


async def test_who_shows_nothing_is_told_how(guarded: Guarded) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Basic cm9vdDpyb290"}):
        answer = await guarded.gateway.ask("GET", "", headers=headers)
        assert (answer.status, answer.document["type"]) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="anypod"'


async def test_who_shows_what_nobody_has_is_told_that(guarded: Guarded) -> None:
    for shown in (
        ROOT[:-1],
        ROOT + "x",
        ROOT.upper(),
        "ключ".encode().decode("latin-1"),
        "x" * 7000,
    ):
        # From an address of its own: other tests have failed from the usual one.
        elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        headers = {"Authorization": f"Bearer {shown}"}
        async with (
            aiohttp.ClientSession(connector=elsewhere) as http,
            http.get(guarded.gateway.base, headers=headers) as answer,
        ):
            told = answer.headers["WWW-Authenticate"]
            assert (answer.status, told) == (401, 'Bearer realm="anypod", error="invalid_token"')
            assert shown not in await answer.text()


async def test_the_schemes_name_may_be_written_otherwise(guarded: Guarded) -> None:
    for header in (f"bearer {ROOT}", f"BEARER   {ROOT} "):
        answer = await guarded.gateway.ask("GET", "", headers={"Authorization": header})
        assert answer.status == 200


async def test_two_keys_in_one_request_are_no_request(guarded: Guarded) -> None:
    headers = CIMultiDict([("Authorization", f"Bearer {ROOT}"), ("Authorization", "Bearer x")])
    answer = await guarded.gateway.ask("GET", "", headers=headers)
    assert (answer.status, answer.document["path"]) == (400, "Authorization")


async def test_paths_and_methods_that_do_not_exist_are_said_to_anybody(guarded: Guarded) -> None:
    nobody = {"Authorization": ""}
    assert (await guarded.gateway.ask("GET", "//nowhere", headers=nobody)).status == 404
    assert (await guarded.gateway.ask("PATCH", "", headers=nobody)).status == 405


async def test_a_key_works_as_soon_as_its_file_is_there_and_not_after(guarded: Guarded) -> None:
    key = "a-key-that-comes-and-goes"
    await guarded.give("visitor", key)
    await guarded.until(200, key)
    await guarded.give("visitor", {"key": key, "verbs": ["run"]})
    await guarded.until(403, key)
    await guarded.give("visitor", {"key": key, "verbs": ["all of them"]})
    await guarded.give("signal", "another-key-0123456789")
    await guarded.until(200, "another-key-0123456789")
    assert (await guarded.ask(key, "GET", "")).status == 403
    scraped = (await guarded.gateway.ask("GET", "//metrics")).body.decode()
    assert 'anypod_api_keys{state="broken"} 1.0' in scraped
    await asyncio.to_thread((guarded.keys / "visitor").unlink)
    await guarded.until(401, key)


async def test_the_document_says_who_may_call(guarded: Guarded) -> None:
    served = (await guarded.gateway.ask("GET", "//openapi.json")).document
    made = await asyncio.to_thread(document, TABLE, secured=True)  # it reads files
    assert served == json.loads(json.dumps(made))
    for route in TABLE:
        operation = served["paths"][route.path][route.method.lower()]
        assert ("security" in operation) is (route.needs != "open")
        assert ("401" in operation["responses"]) is (route.needs != "open")


async def test_the_log_and_metrics_name_callers_and_never_their_keys(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "root").write_text(ROOT)
    (keys / "ci-pipeline").write_text(json.dumps({"key": key_of("run"), "verbs": ["run"]}))
    (keys / "torn").write_text('{"key": "' + key_of("torn"))
    async with rig(tmp_path, options=("--api-keys", str(keys)), key=ROOT) as made:
        guarded = Guarded(made, keys)
        await made.gateway.create(SOURCE, "p")
        ran = await guarded.ask(key_of("run"), "POST", "/programs/p/run", json={"inputs": {"x": 1}})
        assert ran.status == 200
        await guarded.ask(key_of("run"), "GET", "/programs")
        await guarded.ask(key_of("nobody"), "GET", "")
        await made.gateway.ask("GET", "", headers={"Authorization": ""})
        await guarded.give("root", "?")
        scraped = (await made.gateway.ask("GET", "//metrics")).body.decode()
        assert await made.gateway.stop() == 0
        log = await made.gateway.log()
    lines = [line for line in map(json.loads, log.splitlines()) if "method" in line]
    run = next(line for line in lines if line["path"].endswith("/run"))
    assert run["caller"] == "ci-pipeline"
    refused = next(line for line in lines if line["status"] == 403)
    assert (refused["caller"], refused["problem"]) == ("ci-pipeline", "forbidden")
    assert all("caller" not in line for line in lines if line["status"] == 401)
    assert any(line.get("caller") == "root" for line in lines)
    for key in (ROOT, key_of("run"), key_of("nobody"), key_of("torn")):
        assert key not in log
        assert key not in scraped
        assert key[10:] not in log
    for line in (
        'anypod_authentications_total{outcome="missing"} 1.0',
        'anypod_authentications_total{outcome="unknown"} 1.0',
        'anypod_authentications_total{outcome="forbidden"} 1.0',
        'anypod_authentications_total{outcome="throttled"} 0.0',
        'anypod_api_keys{state="good"} 2.0',
    ):
        assert line in scraped, scraped


async def test_many_unknown_keys_are_slowed_down_and_good_ones_are_not(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "root").write_text(ROOT)
    async with rig(tmp_path, options=("--api-keys", str(keys)), key=ROOT) as made:
        guarded = Guarded(made, keys)
        found = [await guarded.ask(f"guess-{n}", "GET", "") for n in range(BURST * 3)]
        assert {one.status for one in found} == {401, 429}
        assert [one.status for one in found[:BURST]] == [401] * BURST
        slowed = next(one for one in found if one.status == 429)
        assert slowed.document["type"] == "too-many-attempts"
        assert int(slowed.headers["Retry-After"]) >= 1
        assert (await guarded.ask(ROOT, "GET", "")).status == 200
        scraped = (await made.gateway.ask("GET", "//metrics")).body.decode()
        await made.gateway.stop()
        told = (await made.gateway.log()).count("too many unknown keys")
        assert 1 <= told < BURST
    assert 'outcome="throttled"} 0.0' not in scraped


def options(tmp_path: Path, *more: str) -> list[str]:
    (tmp_path / "token").write_text("t")
    (tmp_path / "keys").mkdir(exist_ok=True)
    return [
        *(sys.executable, "-m", "anypod_gateway", "--store", f"sqlite:{tmp_path / 's.db'}"),
        *("--pools-file", str(tmp_path / "pools.json")),
        *("--link-token-file", str(tmp_path / "token")),
        *more,
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--listen", "0.0.0.0:0"), "it is not told who may call"),
        (("--listen", "[::]:0"), "it is not told who may call"),
        (("--listen", "127.0.0.1:0", "--api-keys", "{dir}/no"), "there is no directory"),
        (("--listen", "127.0.0.1:0", "--api-keys", "{dir}", "--no-authentication"), "contradicts"),
        (("--listen", "127.0.0.1:0", "--kubernetes-tokens"), "--kubernetes-tokens: "),
        (("--listen", "127.0.0.1:0", "--token-audience", "a"), "is for --kubernetes-tokens"),
    ],
)
async def test_a_gateway_that_does_not_know_who_may_call_does_not_start(
    tmp_path: Path, more: tuple[str, ...], message: str
) -> None:
    given = [one.replace("{dir}", str(tmp_path / "keys")) for one in more]
    process = await asyncio.create_subprocess_exec(
        *options(tmp_path, *given), stderr=asyncio.subprocess.PIPE, env={"HOME": str(tmp_path)}
    )
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode == 2
    assert message in err.decode()
    assert "Traceback" not in err.decode()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0 --no-authentication"])
async def test_without_authentication_it_starts_where_it_is_told_so(
    tmp_path: Path, listen: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *options(tmp_path, "--listen", *listen.split()), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    async with asyncio.timeout(60):
        first = (await process.stderr.readline()).decode()
        assert "there is no authentication" in first
        while "listens on" not in (await process.stderr.readline()).decode():
            assert not process.stderr.at_eof()
    process.terminate()
    await process.communicate()


async def test_every_verb_is_needed_somewhere() -> None:
    assert {route.needs for route in TABLE} == {*VERBS, "open"}
