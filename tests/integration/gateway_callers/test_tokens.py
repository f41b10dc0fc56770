"""Callers with tokens of a real Kubernetes: whose they are and what they may do, it decides."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.gateway_callers.conftest import NAMESPACE, Kubernetes, rule
from tests.support.rig import Answer, Rig, rig
from tests.support.tcp_proxy import TcpProxy

from anypod_gateway.callers import remembered, tokens
from anypod_gateway.callers.keys import digest_of
from anypod_gateway.callers.remembered import NoAnswer
from anypod_gateway.callers.rights import Verb
from anypod_gateway.callers.tokens import TokenCaller, Tokens
from anypod_gateway.cluster.connection import connected

ROOT = "root-key-of-these-tests-0123456789"
OPTIONS = ("--kubernetes-tokens", "--namespace", NAMESPACE)
READS = rule("read", verb="get")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def _kubeconfig(kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))


async def account(kubernetes: Kubernetes, *arguments: Any, **options: Any) -> str:
    return await asyncio.to_thread(kubernetes.account, *arguments, **options)


async def ask(made: Rig, token: str, method: str, path: str, **options: Any) -> Answer:
    headers = {"Authorization": f"Bearer {token}"}
    return await made.gateway.ask(method, path, headers=headers, **options)


@contextlib.asynccontextmanager
async def reviewing(audience: str = "") -> AsyncIterator[Tokens]:
    """As a gateway has it, but in this process."""
    async with connected() as api:
        made = Tokens(api, audience, NAMESPACE)
        yield made
        await made.close()


async def known(made: Tokens, token: str) -> TokenCaller | None:
    return await made.find(digest_of(token), token, suspect=False)


async def may(caller: TokenCaller | None, verb: Verb, pool: str) -> bool:
    assert caller is not None
    return await caller.may(verb, pool)


async def test_a_service_account_may_do_in_a_pool_what_its_roles_say(
    kubernetes: Kubernetes, tmp_path: Path
) -> None:
    runner = await account(kubernetes, "runner", rule("run"))
    reader = await account(kubernetes, "reader", READS)
    nobody = await account(kubernetes, "nobody")
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "root").write_text(ROOT)
    async with rig(tmp_path, options=(*OPTIONS, "--api-keys", str(keys)), key=ROOT) as made:
        await made.gateway.create("def main(x: int):\n    return x\n", "p")
        body = {"inputs": {"x": 5}}
        ran = await ask(made, runner, "POST", "/programs/p/run", json=body)
        assert ran.outputs == 5
        assert (await ask(made, runner, "GET", "/programs/p")).status == 403
        assert (await ask(made, runner, "POST", "/run", json={})).status == 403
        assert (await ask(made, reader, "GET", "/programs/p")).status == 200
        refused = await ask(made, reader, "POST", "/programs/p/run", json=body)
        assert (refused.status, refused.document["type"]) == (403, "forbidden")
        assert (await ask(made, nobody, "GET", "")).status == 403
        lists = [(await ask(made, one, "GET", "//v1/pools")).document["items"] for one in
                 (reader, runner, nobody)]  # fmt: skip
        assert [len(one) for one in lists] == [1, 0, 0]
        for token in ("no-token-at-all", runner[:-4] + "AAAA"):
            unknown = await ask(made, token, "GET", "")
            assert (unknown.status, unknown.document["type"]) == (401, "unauthenticated")
        scraped = (await made.gateway.ask("GET", "//metrics")).body.decode()
        assert await made.gateway.stop() == 0
        log = await made.gateway.log()
    assert f'"caller":"system:serviceaccount:{NAMESPACE}:runner"' in log
    assert 'anypod_authentications_total{outcome="token"}' in scraped
    for token in (runner, reader, nobody):
        assert token not in log
        assert token.rpartition(".")[2] not in log


async def test_roles_can_name_single_pools(kubernetes: Kubernetes) -> None:
    token = await account(kubernetes, "one-pool", rule("run", pools=("mine",)))
    async with reviewing() as made:
        caller = await known(made, token)
        assert await may(caller, "run", "mine")
        assert await may(caller, "run", f"mine.{NAMESPACE}")
        assert not await may(caller, "run", "other")
        assert not await may(caller, "run", "mine.default")
        assert not await may(caller, "write", "mine")
        assert not await may(caller, "run", "No/Pool")


async def test_a_role_on_pools_themselves_opens_no_program(kubernetes: Kubernetes) -> None:
    every = {"apiGroups": ["anypod.dev"], "resources": ["workerpools"], "verbs": ["*"]}
    token = await account(kubernetes, "views-pools", every)
    async with reviewing() as made:
        caller = await known(made, token)
        for verb in ("read", "run", "write", "admin"):
            assert not await may(caller, verb, "p")  # type: ignore[arg-type]


async def test_a_token_that_was_made_for_another_service_is_none_here(
    kubernetes: Kubernetes,
) -> None:
    plain = await account(kubernetes, "audience", READS)
    for_us = await asyncio.to_thread(kubernetes.token, "audience", "anypod")
    async with reviewing("anypod") as made:
        assert await known(made, plain) is None
        assert await may(await known(made, for_us), "read", "p")
    async with reviewing() as made:
        assert await known(made, for_us) is None
        assert await may(await known(made, plain), "read", "p")


async def test_what_is_taken_away_holds_no_longer_than_an_answer_is_fresh(
    kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await account(kubernetes, "leaves", READS)
    async with reviewing() as made:
        caller = await known(made, token)
        assert await may(caller, "read", "p")
        await asyncio.to_thread(kubernetes.kubectl, "delete", "rolebinding", "leaves")
        await asyncio.to_thread(kubernetes.kubectl, "delete", "serviceaccount", "leaves")
        assert await may(caller, "read", "p")
        monkeypatch.setattr(remembered, "FRESH_SECONDS", 0.0)
        monkeypatch.setattr(remembered, "PATIENCE_SECONDS", 30.0)
        monkeypatch.setattr(remembered, "NO_SECONDS", 0.0)
        async with asyncio.timeout(60):  # the API server has caches of its own
            while await may(caller, "read", "p"):
                await asyncio.sleep(0.1)
            while await known(made, token) is not None:
                await asyncio.sleep(0.1)


async def through(proxy: TcpProxy, kubernetes: Kubernetes, directory: Path) -> str:
    text = await asyncio.to_thread(kubernetes.kubeconfig.read_text)
    found = directory / "kubeconfig"
    found.write_text(text.replace(f":{kubernetes.port}", f":{proxy.port}"))
    return str(found)


async def test_while_kubernetes_is_away_known_callers_go_on_and_others_wait(
    kubernetes: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_one = await account(kubernetes, "stays", READS)
    other = await account(kubernetes, "comes-later", READS)
    async with TcpProxy(kubernetes.port) as proxy:
        monkeypatch.setenv("KUBECONFIG", await through(proxy, kubernetes, tmp_path))
        keys = tmp_path / "keys"
        keys.mkdir()
        (keys / "root").write_text(ROOT)
        options = (*OPTIONS, "--api-keys", str(keys))
        async with rig(tmp_path, workers=0, options=options, key=ROOT) as made:
            assert (await ask(made, known_one, "GET", "")).status == 200
            await proxy.cut()
            for token in (known_one, ROOT):
                assert (await ask(made, token, "GET", "")).status == 200
            for _ in range(3):
                away = await ask(made, other, "GET", "")
                assert (away.status, away.document["type"]) == (503, "authentication-unavailable")
                assert int(away.headers["Retry-After"]) >= 1
            nobody = await made.gateway.ask("GET", "", headers={"Authorization": ""})
            assert nobody.status == 401
            await proxy.restore()
            async with asyncio.timeout(60):
                while (await ask(made, other, "GET", "")).status != 200:
                    await asyncio.sleep(0.1)


async def test_an_answer_that_nobody_can_confirm_does_for_a_while_and_no_longer(
    kubernetes: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await account(kubernetes, "outlives", READS)
    monkeypatch.setattr(remembered, "FRESH_SECONDS", 0.0)
    async with TcpProxy(kubernetes.port) as proxy:
        monkeypatch.setenv("KUBECONFIG", await through(proxy, kubernetes, tmp_path))
        async with reviewing() as made:
            assert await may(await known(made, token), "read", "p")
            await proxy.cut()
            assert await may(await known(made, token), "read", "p")
            monkeypatch.setattr(remembered, "LONGEST_SECONDS", 0.0)
            with pytest.raises(NoAnswer):
                await known(made, token)
            await proxy.restore()
            async with asyncio.timeout(30):
                while True:
                    with contextlib.suppress(NoAnswer):
                        assert await known(made, token) is not None
                        break


async def test_a_server_that_hangs_is_not_waited_for_by_known_callers(
    kubernetes: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await account(kubernetes, "hurries", READS)
    async with TcpProxy(kubernetes.port) as proxy:
        monkeypatch.setenv("KUBECONFIG", await through(proxy, kubernetes, tmp_path))
        async with reviewing() as made:
            assert await may(await known(made, token), "read", "p")
            monkeypatch.setattr(remembered, "FRESH_SECONDS", 0.0)
            monkeypatch.setattr(remembered, "PATIENCE_SECONDS", 0.1)
            proxy.freeze()
            # The questions hang, so only the patience ends this.
            assert await may(await known(made, token), "read", "p")


async def test_a_gateway_that_may_not_ask_lets_nobody_in(
    kubernetes: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = await account(kubernetes, "powerless")
    config = json.loads(await asyncio.to_thread(kubernetes.kubeconfig.read_text))
    config["users"][0]["user"] = {"token": own}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    async with reviewing() as made:
        with pytest.raises(NoAnswer, match="403"):
            await known(made, own)


async def test_suspects_have_a_lane_of_their_own(
    kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who shows much that is no token can keep only others like him waiting."""
    monkeypatch.setattr(tokens, "SUSPECTS_AT_ONCE", 1)
    monkeypatch.setattr(tokens, "SUSPECTS_WAITING", 1)
    good = await account(kubernetes, "neighbour", READS)
    async with reviewing() as made:
        flood = [
            asyncio.create_task(made.find(digest_of(f"junk-{n}"), f"junk-{n}", suspect=True))
            for n in range(10)
        ]
        assert await known(made, good) is not None
        found = await asyncio.gather(*flood, return_exceptions=True)
        assert found.count(None) == 2
        assert sum(isinstance(one, Exception) for one in found) == 8
        assert await made.find(digest_of(good), good, suspect=True) is not None
