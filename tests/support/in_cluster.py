"""AnyPod in a namespace of a cluster, without its operator: what that would make is made here.

The workers' objects are the operator's own, built but not kept. The gateway has its programs in a
file of its pod.
"""

import asyncio
import contextlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
from tests.cluster import Cluster, ImageNames, images
from tests.support.port_forward import forwarded
from tests.support.rig import Caller

from anypod.resources import names
from anypod_operator.objects.build import build
from anypod_operator.pools import parse
from anypod_operator.settings import GATEWAY_LABELS, Settings

KEY = "the key of all link tokens"
GATEWAY_PORT = 8700
READY_SECONDS = 120

Object = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """One namespace."""

    cluster: Cluster
    namespace: str

    async def kubectl(self, *arguments: str, **options: Any) -> str:
        call = (f"--namespace={self.namespace}", *arguments)
        return await asyncio.to_thread(self.cluster.kubectl, *call, **options)

    async def apply(self, *objects: Object) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        await self.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(listed))

    async def rolled_out(self, deployment: str) -> None:
        what = ("rollout", "status", f"deployment/{deployment}", f"--timeout={READY_SECONDS}s")
        await self.kubectl(*what, timeout=READY_SECONDS + 10)

    async def pods(self, pool: str = "default") -> list[Object]:
        """Of the pool's workers; none that is going."""
        found = json.loads(
            await self.kubectl("get", "pods", f"-l{names.POOL_LABEL}={pool}", "-ojson")
        )
        return [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]

    # what is put there

    async def add_pool(self, name: str = "default", **spec: Any) -> None:
        """Not waited for."""
        raw = {
            "apiVersion": "anypod.dev/v1alpha1",
            "kind": "WorkerPool",
            "metadata": {"name": name, "namespace": self.namespace, "uid": "made-here"},
            "spec": spec,
        }
        worker = self.cluster.images.of(images.WORKER)
        settings = Settings(worker_image=worker, link_key=KEY, home=self.namespace)
        objects = [_without_owner(made) for made in build(parse(raw), settings)]
        for made in objects:
            if made["kind"] == "Deployment":
                _pull(made, self.cluster.images.pull_policy)
        await self.apply(raw | {"metadata": {"name": name}}, *objects)

    async def add_gateway(self, node: str) -> None:
        """Ready when this returns."""
        await self.apply(
            _secret("gateway", "key", KEY),
            *_rights(self.namespace),
            _gateway(node, self.namespace, self.cluster.images),
        )
        await self.rolled_out("gateway")

    @contextlib.asynccontextmanager
    async def calling(self, pool: str = "default") -> AsyncIterator[Caller]:
        """The gateway, through the API server, as on every provider."""
        way = forwarded(
            self.cluster, self.namespace, "deployment/gateway", GATEWAY_PORT, seconds=30
        )
        async with way as url, aiohttp.ClientSession() as http:
            yield Caller(url=url, http=http, pool=pool)


def _without_owner(made: Object) -> Object:
    metadata = {k: v for k, v in made["metadata"].items() if k != "ownerReferences"}
    return made | {"metadata": metadata}


def _secret(name: str, key: str, value: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "data": {key: b64encode(value.encode()).decode()},
    }


def _rights(namespace: str) -> list[Object]:
    rules = [
        {"apiGroups": ["anypod.dev"], "resources": ["workerpools"], "verbs": ["list", "watch"]},
        {
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": ["list", "watch"],
        },
    ]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "gateway"}}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "gateway"}},
        {**role, "kind": "Role", "rules": rules},
        {
            **role,
            "kind": "RoleBinding",
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": "gateway",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "gateway", "namespace": namespace}],
        },
    ]


def _pull(deployment: Object, policy: str) -> None:
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        container["imagePullPolicy"] = policy


def _gateway(node: str, namespace: str, names: ImageNames) -> Object:
    arguments = [
        "anypod_gateway",
        "--kubernetes",
        f"--watch-namespace={namespace}",
        f"--namespace={namespace}",
        f"--listen=0.0.0.0:{GATEWAY_PORT}",
        "--no-authentication",
        "--store=sqlite:/tmp/store.db",
        "--link-token-file=/secret/key",
        "--log-format=json",
    ]
    container = {
        "name": "gateway",
        "image": names.of(images.ANYPOD),
        "imagePullPolicy": names.pull_policy,
        "args": arguments,
        "ports": [{"containerPort": GATEWAY_PORT}],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": GATEWAY_PORT},
            "periodSeconds": 1,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "key", "mountPath": "/secret", "readOnly": True},
        ],
    }
    pod = {
        "serviceAccountName": "gateway",
        "nodeSelector": {"kubernetes.io/hostname": node},
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "key", "secret": {"secretName": "gateway"}},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "gateway"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": GATEWAY_LABELS},
            "template": {"metadata": {"labels": GATEWAY_LABELS}, "spec": pod},
        },
    }
