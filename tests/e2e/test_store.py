"""The chart's etcd on volumes: three members, new certificates, snapshots, and the way back."""

import asyncio
import json
import time
from collections.abc import Iterator
from functools import partial

import pytest
from tests.cluster import Cluster, images
from tests.cluster.kubectl import KubectlError
from tests.cluster.waiting import wait_until
from tests.support.chart import CHART, find_helm
from tests.support.cluster_tests import skip_if_theirs
from tests.support.figures import Figure
from tests.support.installed import MINUTES, RESTRICTED, Object, Release
from tests.support.local_volumes import local_volumes
from tests.support.namespaces import namespace, stays
from tests.support.rig import Answer, Caller

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes

MEMBERS = 3
WRITES = 20
"""While a member is replaced."""
CLIENTS_RETRIES = 2
NO_MEMBER_SECONDS = 20
"""Longer than a gateway that alone had lost the store would stay ready."""
TRUST = {"cacert": "ca.crt", "cert": "server.crt", "key": "server.key"}
ECHO = "def main(x: int) -> int:\n    return x\n"


@pytest.fixture(scope="module")
def storage_class(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    if find_helm() is None:
        pytest.skip("e2e: no helm")
    skip_if_theirs(cluster, "its nodes get folders, and the cluster a storage class")
    with local_volumes(cluster, each=6, stay=partial(stays, request)) as name:
        yield name


@pytest.fixture(scope="module")
def release(
    cluster: Cluster, request: pytest.FixtureRequest, storage_class: str
) -> Iterator[Release]:
    """That serves its own namespace alone, with a pool of one worker."""
    with namespace(cluster, request, "e2e-store", **RESTRICTED) as name:
        made = Release(cluster, "anypod", name)
        made.install(
            {
                "crds.enabled": False,
                "etcd.members": MEMBERS,
                # What one pod is to mount at the restore must be on one node.
                "etcd.nodeSelector": {"kubernetes.io/hostname": cluster.nodes()[0]},
                "etcd.persistence.size": "1Gi",
                "etcd.persistence.storageClassName": storage_class,
                "etcd.quotaBytes": 1 << 29,
                "etcd.snapshots.size": "1Gi",
                "etcd.snapshots.storageClassName": storage_class,
                "gateway.replicas": 1,
                "rbac.aggregate": False,
                "watchNamespaces": [made.namespace],
            }
        )
        made.apply_pool(replicas=1, executors=1)
        yield made
        if not stays(request):
            made.uninstall()
            made.kubectl("wait", "pvc", "--all", "--for=delete", "--timeout=120s", timeout=150)


def member(release: Release, number: int) -> str:
    return f"{release.name}-etcd-{number}"


def rolled_out(release: Release, what: str) -> None:
    ready = ("rollout", "status", what, f"--timeout={MINUTES}m")
    release.kubectl(*ready, timeout=MINUTES * 60 + 30)


async def test_three_members_do_without_one(release: Release, figure: Figure) -> None:
    first = ("wait", "--for=condition=Complete", f"job/{release.name}-etcd-snapshot-1")
    await asyncio.to_thread(release.kubectl, *first, "--timeout=5m", timeout=330)
    async with release.calling() as gateway:
        assert await gateway.create(ECHO, "before") == "before"
        slowest, repeated = 0.0, 0
        for number in range(MEMBERS):
            pod = f"pod/{member(release, number)}"
            release.kubectl("delete", pod, "--grace-period=1", "--wait=false")
            for revision in range(WRITES):
                began = time.monotonic()
                repeated += await put(gateway, "during", f"{ECHO}# {number}.{revision}")
                slowest = max(slowest, time.monotonic() - began)
            await asyncio.to_thread(rolled_out, release, f"statefulset/{release.name}-etcd")
        assert (await gateway.run("before", x=5)).outputs == 5
        kept = (await gateway.ask("GET", "/programs/during")).document
        assert kept["files"]["main.py"] == f"{ECHO}# {MEMBERS - 1}.{WRITES - 1}"
    figure(
        f"{MEMBERS * WRITES} writes while each of {MEMBERS} members of etcd was replaced:"
        f" slowest {slowest:.2f} s, {repeated} repeated"
    )


async def put(gateway: Caller, name: str, source: str) -> int:
    """How often it was repeated: what was under way at a member that ends may have happened, as
    docs/retries.md says. No oftener than clients do it by themselves."""

    async def once() -> Answer:
        return await gateway.ask("PUT", f"/programs/{name}", json={"source": source})

    repeats = 0
    while (answer := await once()).status == 503 and repeats < CLIENTS_RETRIES:
        assert answer.document["type"] == "store-unavailable"
        repeats += 1
        await asyncio.sleep(answer.document["retryAfter"])
    assert answer.status in {200, 201}, answer.body
    return repeats


async def test_a_member_that_lost_its_volume_joins_the_others(release: Release) -> None:
    """By the steps of docs/failures.md; meanwhile the others do without it."""
    lost, claim = member(release, 1), f"data-{member(release, 1)}"
    before = release.get(f"pvc/{claim}")["metadata"]["uid"]
    peer = f"https://{lost}.{release.name}-etcd-members.{release.namespace}.svc:2380"
    listed = next(line for line in etcdctl(release, "member", "list") if lost in line)
    identity, _, _ = listed.partition(",")  # sixteen hexadecimal digits, or fewer
    for change in (["remove", identity], ["add", lost, f"--peer-urls={peer}"]):
        wait_until(partial(changed, release, *change), f"member {change}", 120)
    joins = ("configmap", f"{release.name}-etcd-joins")
    release.kubectl("create", *joins, "--from-literal=state=existing")
    release.kubectl("delete", "pvc", claim, "--wait=false")
    release.kubectl("delete", "pod", lost, "--timeout=120s", timeout=150)
    async with release.calling() as gateway:
        await gateway.create(ECHO, "meanwhile")
    await asyncio.to_thread(rolled_out, release, f"statefulset/{release.name}-etcd")
    release.kubectl("delete", *joins)
    assert release.get(f"pvc/{claim}")["metadata"]["uid"] != before
    told = etcdctl(release, "member", "list")
    assert [line.split(", ")[1] for line in told] == ["started"] * MEMBERS
    assert "true" not in [line.split(", ")[-1] for line in told]  # that would be learners
    release.kubectl("delete", "pod", member(release, 0), "--wait=false")  # so it is needed
    async with release.calling() as gateway:
        await gateway.create(ECHO, "with-it")
    await asyncio.to_thread(rolled_out, release, f"statefulset/{release.name}-etcd")


def changed(release: Release, *change: str) -> bool:
    """Not until all others have been there for some seconds."""
    try:
        etcdctl(release, "member", *change)
    except KubectlError as refused:
        if "unhealthy cluster" not in str(refused):
            raise
        return False
    return True


def etcdctl(release: Release, *command: str) -> list[str]:
    """What it prints in the first member."""
    folder = "/etc/anypod/etcd"
    trust = [f"--{name}={folder}/{file}" for name, file in TRUST.items()]
    return release.kubectl(
        *("exec", member(release, 0), "--", "etcdctl", "--endpoints=https://localhost:2379"),
        *trust,
        *("--command-timeout=20s", *command),
    ).splitlines()


async def test_certificates_are_renewed(release: Release) -> None:
    """By the steps of docs/install.md; what is stored is still there."""
    async with release.calling() as gateway:
        await gateway.create(ECHO, "kept")
    secret = f"{release.name}-etcd-tls"
    before = release.secret(secret)
    release.kubectl("delete", "secret", secret)
    await asyncio.to_thread(
        release.helm, "upgrade", release.name, str(CHART), "--reset-then-reuse-values"
    )
    release.kubectl(
        *("delete", "pod", "--timeout=120s"),
        f"--selector=app.kubernetes.io/instance={release.name},app.kubernetes.io/component=etcd",
        timeout=150,
    )
    release.kubectl("rollout", "restart", f"deployment/{release.name}-gateway")
    for what in (f"statefulset/{release.name}-etcd", f"deployment/{release.name}-gateway"):
        await asyncio.to_thread(rolled_out, release, what)
    after = release.secret(secret)
    assert not set(before.values()) & set(after.values())
    async with release.calling() as gateway:
        assert (await gateway.run("kept", x=7)).outputs == 7
        assert await gateway.create(ECHO, "new") == "new"


async def test_cached_programs_run_while_no_member_is_there(release: Release) -> None:
    """Through both gateways: neither can know more than the other."""
    gateways, etcd = f"deployment/{release.name}-gateway", f"statefulset/{release.name}-etcd"
    release.kubectl("scale", gateways, "--replicas=2")
    await asyncio.to_thread(rolled_out, release, gateways)
    async with release.calling() as gateway:
        await gateway.create(ECHO, "cached")
        assert (await gateway.run("cached", x=1)).outputs == 1
    release.kubectl("scale", etcd, "--replicas=0")
    await asyncio.to_thread(members_are_gone, release)
    for _ in range(NO_MEMBER_SECONDS):
        assert release.get(gateways)["status"].get("readyReplicas") == 2
        await asyncio.sleep(1)
    async with release.calling() as gateway:
        assert (await gateway.run("cached", x=2)).outputs == 2
        refused = await gateway.ask("PUT", "/programs/new", json={"source": ECHO})
        assert (refused.status, refused.document["type"]) == (503, "store-unavailable")
    release.kubectl("scale", etcd, f"--replicas={MEMBERS}")
    await asyncio.to_thread(rolled_out, release, etcd)
    async with release.calling() as gateway:
        assert await put(gateway, "new", ECHO) <= CLIENTS_RETRIES


def members_are_gone(release: Release) -> None:
    pods = [f"pod/{member(release, number)}" for number in range(MEMBERS)]
    release.kubectl("wait", "--for=delete", *pods, "--timeout=120s", timeout=150)


async def test_a_snapshot_leads_back(release: Release) -> None:
    """By the steps of docs/install.md: all members from one snapshot."""
    async with release.calling() as gateway:
        await gateway.create(ECHO, "echo")
        taken = await asyncio.to_thread(snapshot, release)
        assert (await gateway.ask("DELETE", "/programs/echo")).status == 204
    scaled = (f"deployment/{release.name}-gateway", f"statefulset/{release.name}-etcd")
    release.kubectl("scale", *scaled, "--replicas=0")
    await asyncio.to_thread(members_are_gone, release)
    await asyncio.to_thread(restore, release, taken)
    await asyncio.to_thread(release.upgrade)
    async with release.calling() as gateway:
        assert (await gateway.run("echo", x=6)).outputs == 6


def snapshot(release: Release) -> str:
    """Its name, which is its pod's, when it is on its volume."""
    name = "by-hand"
    release.kubectl("create", "job", name, f"--from=cronjob/{release.name}-etcd-snapshot")
    release.kubectl("wait", "--for=condition=Complete", f"job/{name}", "--timeout=5m", timeout=330)
    pod = release.kubectl("get", "pods", f"--selector=job-name={name}", "--output=name").strip()
    assert "the newest is " in release.kubectl("logs", pod, "--container=forget")
    return f"{pod.removeprefix('pod/')}.db"


def restore(release: Release, name: str) -> None:
    domain = f"{release.name}-etcd-members.{release.namespace}.svc"
    members = [member(release, number) for number in range(MEMBERS)]
    addresses = {each: f"https://{each}.{domain}:2380" for each in members}
    cluster = ",".join(f"{each}={address}" for each, address in addresses.items())
    commands = {
        each: f"rm -rf /var/lib/etcd/data && exec etcdctl snapshot restore"
        f" /snapshots/{name} --data-dir=/var/lib/etcd/data --name={each}"
        f" --initial-cluster={cluster} --initial-advertise-peer-urls={address}"
        f" --initial-cluster-token={release.name}-etcd.{release.namespace}"
        for each, address in addresses.items()
    }
    release.kubectl("apply", "-f", "-", input=json.dumps(restoring_pod(release, commands)))
    done = ("--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
    release.kubectl("wait", *done, "pod/restore", timeout=150)
    release.kubectl("delete", "pod", "restore", "--timeout=60s", timeout=90)


def restoring_pod(release: Release, commands: dict[str, str]) -> Object:
    """With a container for each member."""
    snapshots = f"{release.name}-etcd-snapshots"
    containers = [
        {
            "name": each,
            "image": images.ETCD,
            "imagePullPolicy": "Never",
            "command": ["sh", "-c", command],
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                {"name": f"data-{each}", "mountPath": "/var/lib/etcd"},
                {"name": snapshots, "mountPath": "/snapshots"},
            ],
        }
        for each, command in commands.items()
    ]
    claims = [snapshots, *(f"data-{each}" for each in commands)]
    spec = {
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": containers,
        "volumes": [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "restore"}, "spec": spec}
