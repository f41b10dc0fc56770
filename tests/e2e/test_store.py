"""The chart's etcd on volumes: three members, snapshots, and the way back from one."""

import asyncio
import json
import time
from collections.abc import Iterator

import pytest
from tests.cluster import Cluster, images
from tests.support.chart import find_helm
from tests.support.figures import Figure
from tests.support.installed import MINUTES, Object, Release
from tests.support.local_volumes import local_volumes

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes

RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
ECHO = "def main(x: int) -> int:\n    return x\n"


@pytest.fixture(scope="module")
def storage_class(cluster: Cluster) -> Iterator[str]:
    if find_helm() is None:
        pytest.skip("e2e: no helm")
    with local_volumes(cluster, each=6) as name:
        yield name


@pytest.fixture
def release(
    cluster: Cluster, storage_class: str, request: pytest.FixtureRequest
) -> Iterator[Release]:
    """With so many members; one that serves its own namespace alone, with a pool of one worker."""
    members: int = request.param
    made = Release(cluster, "anypod", f"e2e-store-{members}")
    cluster.kubectl("create", "namespace", made.namespace)
    cluster.kubectl("label", "namespace", made.namespace, RESTRICTED)
    try:
        made.install(
            {
                "crds.enabled": False,
                "etcd.members": members,
                # What one pod is to mount at the restore must be on one node.
                "etcd.nodeSelector": {} if members > 1 else on(cluster.nodes()[0]),
                "etcd.persistence.size": "1Gi",
                "etcd.persistence.storageClassName": storage_class,
                "etcd.snapshots.size": "1Gi",
                "etcd.snapshots.storageClassName": storage_class,
                "gateway.replicas": 1,
                "rbac.aggregate": False,
                "watchNamespaces": [made.namespace],
            }
        )
        made.apply_pool(replicas=1, executors=1)
        yield made
        made.uninstall()
        made.kubectl("wait", "pvc", "--all", "--for=delete", "--timeout=120s", timeout=150)
    finally:
        cluster.kubectl("delete", "namespace", made.namespace, "--timeout=300s", timeout=330)


def on(node: str) -> dict[str, str]:
    return {"kubernetes.io/hostname": node}


def snapshot(release: Release) -> str:
    """Its name, when it is on its volume."""
    name = "by-hand"
    release.kubectl("create", "job", name, f"--from=cronjob/{release.name}-etcd-snapshot")
    release.kubectl("wait", "--for=condition=Complete", f"job/{name}", "--timeout=5m", timeout=330)
    told = release.kubectl("logs", f"job/{name}", "--container=forget")
    assert "the newest is by-hand-" in told
    return told.split("the newest is ")[1].strip()


@pytest.mark.parametrize("release", [3], indirect=True)
async def test_three_members_do_without_one(release: Release, figure: Figure) -> None:
    first = ("wait", "--for=condition=Complete", f"job/{release.name}-etcd-snapshot-1")
    await asyncio.to_thread(release.kubectl, *first, "--timeout=5m", timeout=330)
    async with release.calling() as gateway:
        assert await gateway.create(ECHO, "before") == "before"
        slowest = 0.0
        for number in range(3):
            pod = f"pod/{release.name}-etcd-{number}"
            release.kubectl("delete", pod, "--grace-period=1", "--wait=false")
            for revision in range(20):
                began = time.monotonic()
                answer = await gateway.ask(
                    "PUT", "/programs/during", json={"source": f"{ECHO}# {number}.{revision}"}
                )
                assert answer.status in {200, 201}, answer.body
                slowest = max(slowest, time.monotonic() - began)
            ready = (
                "rollout",
                "status",
                f"statefulset/{release.name}-etcd",
                f"--timeout={MINUTES}m",
            )
            await asyncio.to_thread(release.kubectl, *ready, timeout=MINUTES * 60 + 30)
        figure(f"60 writes while each of 3 members of etcd was replaced: slowest {slowest:.2f} s")
        assert (await gateway.run("before", x=5)).outputs == 5


@pytest.mark.parametrize("release", [1], indirect=True)
async def test_a_snapshot_leads_back(release: Release) -> None:
    """By the steps of docs/install.md."""
    async with release.calling() as gateway:
        await gateway.create(ECHO, "echo")
        taken = await asyncio.to_thread(snapshot, release)
        assert (await gateway.ask("DELETE", "/programs/echo")).status == 204
    scaled = (f"deployment/{release.name}-gateway", f"statefulset/{release.name}-etcd")
    release.kubectl("scale", *scaled, "--replicas=0")
    gone = ("wait", "--for=delete", f"pod/{release.name}-etcd-0", "--timeout=120s")
    await asyncio.to_thread(release.kubectl, *gone, timeout=150)
    await asyncio.to_thread(restore, release, taken)
    await asyncio.to_thread(release.upgrade)
    async with release.calling() as gateway:
        assert (await gateway.run("echo", x=6)).outputs == 6


def restore(release: Release, name: str) -> None:
    member = f"{release.name}-etcd-0"
    address = f"https://{member}.{release.name}-etcd-members.{release.namespace}.svc:2380"
    command = (
        "rm -rf /var/lib/etcd/data && exec etcdctl snapshot restore"
        f" /snapshots/{name} --data-dir=/var/lib/etcd/data --name={member}"
        f" --initial-cluster={member}={address} --initial-advertise-peer-urls={address}"
        f" --initial-cluster-token={release.name}-etcd.{release.namespace}"
    )
    release.kubectl("apply", "-f", "-", input=json.dumps(restoring_pod(release, command)))
    done = ("--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
    release.kubectl("wait", *done, "pod/restore", timeout=150)
    release.kubectl("delete", "pod", "restore", "--timeout=60s", timeout=90)


def restoring_pod(release: Release, command: str) -> Object:
    claims = {
        "/var/lib/etcd": f"data-{release.name}-etcd-0",
        "/snapshots": f"{release.name}-etcd-snapshots",
    }
    container = {
        "name": "restore",
        "image": images.ETCD,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", command],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": c, "mountPath": path} for path, c in claims.items()],
    }
    spec = {
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims.values()
        ],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "restore"}, "spec": spec}
