"""What is kept apart on a real cluster: callers, programs, workers, and pools of one name."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.cluster import Cluster
from tests.cluster.kubectl import KubectlError
from tests.support.chart import find_helm
from tests.support.installed import MINUTES, Object, Release
from tests.support.namespaces import namespace, stays
from tests.support.strangers import in_a_pod, stranger

from anypod.resources import names

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes

ECHO = "def main(x: int) -> int:\n    return x\n"


@pytest.fixture(scope="module")
def both(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[tuple[Release, Release]]:
    """One release that serves two namespaces, with a pool ``default`` in each."""
    if find_helm() is None:
        pytest.skip("e2e: no helm")
    with (
        namespace(cluster, request, "e2e-apart") as home,
        namespace(cluster, request, "e2e-apart-elsewhere") as other,
    ):
        made = Release(cluster, "anypod", home)
        there = replace(made, namespace=other)
        made.install(
            {
                "crds.enabled": False,
                "etcd.persistence.enabled": False,
                "rbac.aggregate": False,
                "watchNamespaces": [home, other],
            }
        )
        for each in (made, there):
            each.apply_pool(replicas=2, executors=1)
        yield made, there
        if not stays(request):
            made.uninstall()


@pytest.fixture(scope="module")
def release(both: tuple[Release, Release]) -> Release:
    """In its own namespace."""
    return both[0]


@pytest.fixture(scope="module")
def elsewhere(both: tuple[Release, Release]) -> Release:
    """In the other namespace that it serves."""
    return both[1]


# callers


def test_who_shows_no_key_is_refused(release: Release) -> None:
    url = f"http://{release.name}-gateway.{release.namespace}.svc/v1/pools"
    script = (
        "import urllib.request, urllib.error\n"
        f"try: print(urllib.request.urlopen({url!r}, timeout=30).status)\n"
        "except urllib.error.HTTPError as error: print(error.code)\n"
    )
    assert in_a_pod(release, "stranger", script).strip() == "401"


async def test_a_key_for_one_pool_opens_no_other(release: Release, elsewhere: Release) -> None:
    """As soon as it is in the Secret, and the cluster has brought it to the gateways."""
    key = "of-one-pool-and-no-other"
    entry = json.dumps({"key": key, "pools": ["default"], "verbs": ["read"]})
    patch = json.dumps({"stringData": {"narrow": entry}})
    release.kubectl("patch", "secret", f"{release.name}-api-keys", f"--patch={patch}")
    headers = {"Authorization": f"Bearer {key}"}
    async with release.calling() as here:
        there = replace(here, pool=f"default.{elsewhere.namespace}")
        async with asyncio.timeout(MINUTES * 60):
            while (found := await here.ask("GET", "", headers=headers)).status == 401:
                await asyncio.sleep(1)
        assert found.status == 200
        assert (await there.ask("GET", "", headers=headers)).status == 403
        assert (await here.ask("GET", "/sessions", headers=headers)).status == 403


# who reaches whom


def workers_of(release: Release, pool: str = "default") -> list[str]:
    """Their addresses."""
    pods = release.get("pods", f"--selector={names.POOL_LABEL}={pool}")["items"]
    return [pod["status"]["podIP"] for pod in pods if pod["status"].get("phase") == "Running"]


def test_etcd_and_workers_are_reached_by_gateways_alone(release: Release) -> None:
    """Nor is etcd, for who came that far, without a certificate."""
    etcd, gateway = (f"{release.name}-{who}.{release.namespace}.svc" for who in ("etcd", "gateway"))
    worker = workers_of(release)[0]
    script = (
        "import socket\n"
        f"for host, port in (({gateway!r}, 80), ({etcd!r}, 2379), ({worker!r}, 8701)):\n"
        "    try:\n"
        "        socket.create_connection((host, port), 5)\n"
        "        print('open')\n"
        "    except OSError:\n"
        "        print('closed')\n"
    )
    assert in_a_pod(release, "neighbour", script).split() == ["open", "closed", "closed"]
    within = (
        "exec",
        f"{release.name}-etcd-0",
        "--",
        "etcdctl",
        "--endpoints=https://localhost:2379",
    )
    trust = ("--cacert=/etc/anypod/etcd/ca.crt", "--command-timeout=10s")
    mine = ("--cert=/etc/anypod/etcd/server.crt", "--key=/etc/anypod/etcd/server.key")
    assert "started" in release.kubectl(*within, *trust, *mine, "member", "list")
    with pytest.raises(KubectlError):
        release.kubectl(*within, *trust, "member", "list")


RESOLVE = """
import socket
def main(name: str) -> list[str]:
    return sorted({found[4][0] for found in socket.getaddrinfo(name, 80)})
"""


async def test_a_program_may_ask_the_dns(release: Release) -> None:
    """Whatever port its pods listen on: policies see that, and not the Service's."""
    name = f"{release.name}-gateway"
    address = release.get(f"service/{name}")["spec"]["clusterIP"]
    async with release.calling() as gateway:
        await gateway.create(RESOLVE, "resolve", timeoutSeconds=60)
        found = await gateway.run("resolve", name=f"{name}.{release.namespace}.svc")
        assert found.outputs == [address], found


REACH = """
import os, socket
from concurrent.futures import ThreadPoolExecutor
def how(place: str) -> str:
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 3).close()
        return "open"
    except OSError:
        return "closed"
def main(places: list[str]) -> dict[str, str]:
    with ThreadPoolExecutor(len(places)) as pool:
        found = dict(zip(places, pool.map(how, places)))
    return {"token": str(os.path.exists("/var/run/secrets/kubernetes.io")), **found}
"""


async def test_a_program_reaches_nothing_of_ours(release: Release) -> None:
    """By addresses, so that it is not for want of names."""
    places = [*pods_of(release), *services_of(release), *api_servers(release), METADATA]
    assert len(places) > 9  # 2 gateways, operator, etcd, 2 workers, API server, services
    async with release.calling() as gateway:
        await gateway.create(REACH, "reach", timeoutSeconds=60)
        told = (await gateway.run("reach", places=places)).outputs
    assert told.pop("token") == "False"
    reached = [place for place, how in told.items() if how == "open"]
    # The worker that it runs on, which is not behind its own policy.
    assert all(place.endswith(":8701") for place in reached), told
    assert len(reached) <= 1, told


METADATA_SERVER = """
import signal, socket, struct
ADDRESS = socket.inet_aton("169.254.169.254")
def change(message, flags):
    attributes = struct.pack("HH4sHH4s", 8, 1, ADDRESS, 8, 2, ADDRESS)
    body = struct.pack("BBBBI", socket.AF_INET, 32, 0, 0, socket.if_nametoindex("lo")) + attributes
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.send(struct.pack("IHHII", 16 + len(body), message, 5 | flags, 1, 0) + body)
        return struct.unpack("i", kernel.recv(4096)[16:20])[0]
def end(*_):
    change(21, 0)  # RTM_DELADDR
    raise SystemExit
signal.signal(signal.SIGTERM, end)
assert change(20, 0x600) == 0  # RTM_NEWADDR, to be made
with socket.create_server((socket.inet_ntoa(ADDRESS), 80)) as server:
    while True:
        server.accept()[0].close()
"""


@pytest.fixture
def metadata_servers(release: Release) -> Iterator[list[str]]:
    """As clouds have one for each node. Where the nodes are somebody's, none is touched."""
    if release.cluster.theirs:
        yield []
        return
    servers = []
    for number, node in enumerate(release.cluster.nodes()):
        pod = stranger(release, f"metadata-{number}", METADATA_SERVER, node=node)
        (container,) = pod["spec"]["containers"]
        container["securityContext"] = {"runAsUser": 0, "capabilities": {"add": ["NET_ADMIN"]}}
        pod["spec"] |= {"hostNetwork": True, "securityContext": {}}
        pod["spec"]["terminationGracePeriodSeconds"] = 10
        servers.append(f"pod/{pod['metadata']['name']}")
        release.kubectl("apply", "-f", "-", input=json.dumps(pod))
    release.kubectl("wait", "--for=condition=Ready", *servers, "--timeout=120s", timeout=150)
    yield [METADATA]
    release.kubectl("delete", *servers, "--timeout=60s", timeout=90)


async def test_a_program_reaches_what_its_pool_says(
    release: Release, metadata_servers: list[str]
) -> None:
    """What was closed above is there to be reached: it is the policies that close it."""
    (etcd,) = pods_of(release, "etcd")
    gateways, servers = pods_of(release, "gateway"), api_servers(release)
    dns = services_of(release, "--namespace=kube-system", "--selector=k8s-app=kube-dns")
    async with release.calling() as gateway:
        await gateway.create(REACH, "reach", timeoutSeconds=60)

        async def until_open(network: Object, wanted: list[str]) -> None:
            """Policies take a moment to hold."""
            change = json.dumps({"spec": {"network": network}})
            release.kubectl("patch", "wp/default", "--type=merge", f"--patch={change}")
            places = [etcd, *gateways, *servers, *dns, *metadata_servers]
            async with asyncio.timeout(MINUTES * 60):
                while True:
                    told = (await gateway.run("reach", places=places)).outputs
                    if {place for place in places if told[place] == "open"} == set(wanted):
                        return

        await until_open({}, dns)
        # etcd lets nobody in but gateways.
        await until_open({"egress": "all"}, [*gateways, *servers, *dns, *metadata_servers])
        peer = {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "gateway"}}}
        await until_open({"egress": "none", "peers": [peer]}, gateways)
        await until_open({"egress": "none", "peers": []}, [])
        await until_open({"egress": "internet"}, dns)


METADATA = "169.254.169.254:80"


def pods_of(release: Release, component: str = "") -> list[str]:
    """AnyPod's, with the first port of each container."""
    of = f",app.kubernetes.io/component={component}" if component else ""
    return [
        pod["status"]["podIP"] + f":{container['ports'][0]['containerPort']}"
        for pod in release.get("pods", f"--selector=app.kubernetes.io/name=anypod{of}")["items"]
        for container in pod["spec"]["containers"]
        if pod["status"].get("phase") == "Running"
    ]


def services_of(release: Release, *which: str) -> list[str]:
    return [
        f"{one['spec']['clusterIP']}:{one['spec']['ports'][0]['port']}"
        for one in release.get("services", *which)["items"]
        if one["spec"]["clusterIP"] != "None"
    ]


def api_servers(release: Release) -> list[str]:
    """As a Service, and as what is behind it."""
    behind = release.get("endpointslice/kubernetes", "-ndefault")["endpoints"]
    service = release.get("service/kubernetes", "-ndefault")["spec"]["clusterIP"]
    return [f"{service}:443", *(f"{each['addresses'][0]}:6443" for each in behind)]


# pools of one name


TALLY = """
from anypod import session
def main() -> int:
    session.state["calls"] = session.state.get("calls", 0) + 1
    return session.state["calls"]
"""


async def test_pools_of_one_name_do_not_see_each_other(
    release: Release, elsewhere: Release
) -> None:
    """Neither programs nor sessions nor workers."""
    async with release.calling() as here:
        there = replace(here, pool=f"default.{elsewhere.namespace}")
        await here.create(ECHO, "only-here")
        lost = await there.run("only-here", x=1)
        assert (lost.status, lost.document["type"]) == (404, "program-not-found")
        for pool, answer in ((here, "here"), (there, "there")):
            await pool.create(f"def main() -> str:\n    return {answer!r}\n", "where")
            await pool.create(TALLY, "tally")
            assert (await pool.run("where")).outputs == answer
        session = {"X-Session-ID": "one"}
        told = [(await here.run("tally", headers=session)).outputs for _ in range(3)]
        assert told == [1, 2, 3]
        assert (await there.run("tally", headers=session)).outputs == 1
        for pool in (here, there):
            assert (await pool.ask("DELETE", "/sessions/one")).status == 204
        await here.create(REACH, "reach", timeoutSeconds=60)
        places = [f"{address}:8701" for address in workers_of(elsewhere)]
        reached = (await here.run("reach", places=places)).outputs
        assert {reached[place] for place in places} == {"closed"}
        workers = [
            {each["name"] for each in (await pool.ask("GET", "/workers")).document["items"]}
            for pool in (here, there)
        ]
    assert workers[0]
    assert workers[1]
    assert workers[0].isdisjoint(workers[1])


# while the operator is down: the last, for it takes a namespace away


def test_without_an_operator_pools_and_namespaces_can_be_deleted(
    release: Release, elsewhere: Release
) -> None:
    release.kubectl("scale", f"deployment/{release.name}-operator", "--replicas=0")
    gone = ("pod", "--selector=app.kubernetes.io/component=operator", "--for=delete")
    release.kubectl("wait", *gone, f"--timeout={MINUTES}m", timeout=MINUTES * 60 + 30)
    release.kubectl("delete", "wp/default", f"--timeout={MINUTES}m", timeout=MINUTES * 60 + 30)
    release.kubectl(
        *("wait", "pod", f"--selector={names.POOL_LABEL}=default", "--for=delete"),
        f"--timeout={MINUTES}m",
        timeout=MINUTES * 60 + 30,
    )
    elsewhere.get("wp/default")
    release.cluster.kubectl(
        *("delete", "namespace", elsewhere.namespace, f"--timeout={MINUTES}m"),
        timeout=MINUTES * 60 + 30,
    )
