"""Gateways know the pools that a real API server has, and go on knowing them without it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.control_plane import ApiServer
from tests.support.tcp_proxy import TcpProxy

from anypod_gateway.cluster import connection
from anypod_gateway.cluster.source import KubernetesSource
from anypod_gateway.discovery import DesiredPool

PATIENCE = 30.0
Check = Callable[[dict[str, DesiredPool]], Any]


class Told:
    """What a source has handed over last."""

    def __init__(self) -> None:
        self.pools: dict[str, DesiredPool] = {}
        self._news = asyncio.Event()

    def take(self, pools: list[DesiredPool]) -> None:
        self.pools = {pool.name: pool for pool in pools}
        self._news.set()

    async def until(self, what: Check) -> None:
        async with asyncio.timeout(PATIENCE):
            while not what(self.pools):
                self._news.clear()
                await self._news.wait()


@contextlib.asynccontextmanager
async def following(*namespaces: str, home: str = "") -> AsyncIterator[Told]:
    told = Told()
    task = asyncio.create_task(KubernetesSource(namespaces, home, told.take).run())
    try:
        yield told
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def _kubeconfig(kubernetes: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))


async def apply(server: ApiServer, *objects: dict[str, Any]) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    await asyncio.to_thread(server.kubectl, "apply", "-f", "-", input=json.dumps(listed))


def pool(namespace: str, name: str = "p", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "anypod.dev/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"replicas": 1, **spec},
    }


def endpoint_slice(
    namespace: str, *workers: str, pool: str = "p", ready: bool = True
) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": f"{pool}-workers-x",
            "labels": {"anypod.dev/pool": pool},
        },
        "addressType": "IPv4",
        "ports": [{"name": "link", "port": 8701, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [f"198.18.0.{number}"],
                "conditions": {"ready": ready},
                "targetRef": {"kind": "Pod", "name": name, "namespace": namespace},
            }
            for number, name in enumerate(workers, 1)
        ],
    }


def workers(pool: DesiredPool | None) -> dict[str, bool]:
    return {each.name: each.ready for each in pool.endpoints} if pool is not None else {}


async def test_pools_and_workers_are_as_the_server_says(
    kubernetes: ApiServer, namespace: str
) -> None:
    async with following(namespace, home=namespace) as told:
        await apply(kubernetes, pool(namespace, executors=3))
        await told.until(lambda pools: "p" in pools)
        assert told.pools["p"].manifest.spec.executors == 3
        await apply(kubernetes, endpoint_slice(namespace, "w1", "w2", ready=False))
        await told.until(lambda p: workers(p["p"]) == {"w1": False, "w2": False})
        await apply(kubernetes, endpoint_slice(namespace, "w2"))
        await told.until(lambda p: workers(p["p"]) == {"w2": True})
        await apply(kubernetes, pool(namespace, executors=4))
        await told.until(lambda p: p["p"].manifest.spec.executors == 4)
        await asyncio.to_thread(kubernetes.kubectl, "-n", namespace, "delete", "wp", "p")
        await told.until(lambda pools: not pools)


async def test_what_was_there_before_is_handed_over_whole(
    kubernetes: ApiServer, namespace: str
) -> None:
    """A gateway that starts must not take a pool whose workers it has not read for an empty one."""
    await apply(kubernetes, pool(namespace), endpoint_slice(namespace, "w1"))
    for _ in range(5):
        async with following(namespace, home=namespace) as told:
            await told.until(lambda pools: "p" in pools)
            assert workers(told.pools["p"]) == {"w1": True}


async def test_all_namespaces_or_those_that_are_named(
    kubernetes: ApiServer, namespace: str
) -> None:
    other = f"{namespace}-b"
    await asyncio.to_thread(kubernetes.kubectl, "create", "namespace", other)
    await apply(kubernetes, pool(namespace), pool(other), endpoint_slice(other, "w9"))
    async with following(home=namespace) as told:
        await told.until(lambda pools: {"p", f"p.{other}"} <= pools.keys())
        assert workers(told.pools["p"]) == {}
        assert workers(told.pools[f"p.{other}"]) == {"w9": True}
    async with following(namespace, other, home="elsewhere") as told:
        await told.until(lambda pools: pools.keys() == {f"p.{namespace}", f"p.{other}"})
    async with following(namespace, home=namespace) as told:
        await told.until(lambda pools: pools.keys() == {"p"})


def user_of(server: ApiServer, namespace: str, directory: Path) -> str:
    """A kubeconfig of somebody who may read what a gateway reads, in this namespace alone."""
    here = ("-n", namespace)
    resources = "workerpools.anypod.dev,endpointslices.discovery.k8s.io"
    verbs = "--verb=get,list,watch"
    server.kubectl(*here, "create", "serviceaccount", "gateway")
    server.kubectl(*here, "create", "role", "gateway", verbs, f"--resource={resources}")
    subject = f"--serviceaccount={namespace}:gateway"
    server.kubectl(*here, "create", "rolebinding", "gateway", "--role=gateway", subject)
    token = server.kubectl(*here, "create", "token", "gateway").strip()
    cluster = {"server": server.url, "insecure-skip-tls-verify": True}
    found = directory / "gateway.kubeconfig"
    document = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    found.write_text(json.dumps(document))
    return str(found)


async def test_a_namespace_that_may_not_be_read_does_not_hold_up_the_others(
    kubernetes: ApiServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a namespace that is deleted the gateways' Role is gone too."""
    await apply(kubernetes, pool(namespace), endpoint_slice(namespace, "w1"))
    config = await asyncio.to_thread(user_of, kubernetes, namespace, tmp_path)
    monkeypatch.setenv("KUBECONFIG", config)
    async with following(namespace, "deleted", home=namespace) as told:
        await told.until(lambda pools: "p" in pools)
        assert workers(told.pools["p"]) == {"w1": True}


def port_of(server: ApiServer) -> int:
    return int(server.url.rpartition(":")[2])


async def through(proxy: TcpProxy, kubernetes: ApiServer, directory: Path) -> str:
    """A kubeconfig that leads through the proxy."""
    text = await asyncio.to_thread(kubernetes.kubeconfig.read_text)
    found = directory / "kubeconfig"
    found.write_text(text.replace(f":{port_of(kubernetes)}", f":{proxy.port}"))
    return str(found)


async def test_without_the_server_the_last_word_holds_and_what_was_missed_is_made_up_for(
    kubernetes: ApiServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await apply(kubernetes, pool(namespace), endpoint_slice(namespace, "w1"))
    async with TcpProxy(port_of(kubernetes)) as proxy:
        monkeypatch.setenv("KUBECONFIG", await through(proxy, kubernetes, tmp_path))
        async with following(namespace, home=namespace) as told:
            await told.until(lambda p: p and workers(p["p"]) == {"w1": True})
            for number in range(2, 5):
                await proxy.cut()
                await apply(kubernetes, endpoint_slice(namespace, f"w{number}"))
                assert workers(told.pools["p"]) == {f"w{number - 1}": True}
                await proxy.restore()
                await told.until(lambda p, n=number: workers(p["p"]) == {f"w{n}": True})


async def test_a_watch_that_has_gone_silent_is_begun_anew(
    kubernetes: ApiServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 1.0)
    monkeypatch.setattr(connection, "CALL_SECONDS", 2.0)
    await apply(kubernetes, pool(namespace), endpoint_slice(namespace, "w1"))
    async with TcpProxy(port_of(kubernetes)) as proxy:
        monkeypatch.setenv("KUBECONFIG", await through(proxy, kubernetes, tmp_path))
        async with following(namespace, home=namespace) as told:
            await told.until(lambda p: p and workers(p["p"]) == {"w1": True})
            proxy.freeze()
            await apply(kubernetes, endpoint_slice(namespace, "w2"))
            await told.until(lambda p: workers(p["p"]) == {"w2": True})
