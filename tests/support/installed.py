"""AnyPod on a cluster as its users have it: by helm, with the images that the cluster has."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from tests.cluster import Cluster, ImageNames, images
from tests.cluster.kubectl import find_kubectl
from tests.support.chart import CHART, find_helm, helm_on, settings
from tests.support.port_forward import forwarded
from tests.support.rig import Caller

MINUTES = 8
"""For whatever has to become ready: generous, for a busy machine."""
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
"""Of a namespace."""

Object = dict[str, Any]


def image_values(names: ImageNames) -> dict[str, Any]:
    """By which the chart takes what the cluster has."""
    found = {}
    if (
        names != ImageNames()
    ):  # else as helm/trial.yaml has it: an upgrade from that replaces no etcd
        found = {f"{group}.pullPolicy": names.pull_policy for group in ("image", "etcd.image")}
    for group, image in (
        ("image", images.ANYPOD),
        ("workers.image", images.WORKER),
        ("etcd.image", images.ETCD),
    ):
        found[f"{group}.repository"], found[f"{group}.tag"] = names.of(image).rsplit(":", 1)
    return found


@dataclass(frozen=True)
class Release:
    cluster: Cluster
    name: str
    namespace: str

    def helm(self, *arguments: str) -> str:
        within = f"--namespace={self.namespace}"
        return helm_on(self.cluster.kubeconfig, *arguments, within, timeout=MINUTES * 60 + 60)

    def kubectl(self, *arguments: str, **options: Any) -> str:
        return self.cluster.kubectl(f"--namespace={self.namespace}", *arguments, **options)

    def install(self, values: Mapping[str, Any], verb: str = "install", chart: Path = CHART) -> str:
        """Or ``upgrade``; all of it is ready when this returns. The notes."""
        given = settings({**image_values(self.cluster.images), **values})
        told = self._waited(verb, self.name, str(chart), *given)
        return told.partition("NOTES:\n")[2]

    def upgrade(self) -> None:
        """To what it is already, with its values."""
        self._waited("upgrade", self.name, str(CHART), "--reset-then-reuse-values")

    def _waited(self, *arguments: str) -> str:
        return self.helm(*arguments, "--wait", f"--timeout={MINUTES}m")

    def uninstall(self) -> None:
        self.helm("uninstall", self.name, "--wait", f"--timeout={MINUTES}m")

    def create_pool(self, name: str, **spec: Any) -> None:
        pool = {
            "apiVersion": "anypod.dev/v1alpha1",
            "kind": "WorkerPool",
            "metadata": {"name": name},
            "spec": spec,
        }
        self.kubectl("apply", "-f", "-", input=json.dumps(pool))

    def apply_pool(self, name: str = "default", **spec: Any) -> None:
        """Ready when this returns."""
        self.create_pool(name, **spec)
        ready = ("--for=condition=Ready", f"--timeout={MINUTES}m")
        self.kubectl("wait", *ready, f"wp/{name}", timeout=MINUTES * 60 + 30)

    def get(self, what: str, *arguments: str) -> Object:
        found: Object = json.loads(self.kubectl("get", what, *arguments, "--output=json"))
        return found

    def secret(self, name: str) -> dict[str, str]:
        data = self.get(f"secret/{name}").get("data", {})
        return {key: b64decode(value).decode() for key, value in data.items()}

    def all_objects(self) -> set[str]:
        """Everything in the namespace but what happened there."""
        kinds = self.cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-oname")
        listed = ",".join(kind for kind in kinds.split() if not kind.startswith("events"))
        found = self.kubectl("get", listed, "-oname", "--ignore-not-found")
        return set(found.split())

    @contextmanager
    def shell(self, command: str) -> Iterator[str]:
        """What it prints, as a user would run it. What it leaves running ends with the block."""
        programs = [Path(sys.executable), find_kubectl(), find_helm()]
        folders = [str(program.parent) for program in programs if program is not None]
        environment = os.environ | {
            "KUBECONFIG": str(self.cluster.kubeconfig),
            "PATH": ":".join([*folders, os.environ["PATH"]]),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=CHART.parents[1],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            status = process.wait(timeout=MINUTES * 60)
            told = os.read(process.stdout.fileno(), 1 << 20).decode() if status == 0 else ""
            complaint = os.read(process.stderr.fileno(), 1 << 20).decode() if status else ""
            assert status == 0, f"{command}: {complaint}"
            yield told
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    @contextlib.asynccontextmanager
    async def calling(self, pool: str = "default") -> AsyncIterator[Caller]:
        """One of its gateways, with the first API key."""
        key = (await asyncio.to_thread(self.secret, f"{self.name}-api-keys"))["admin"]
        headers = {"Authorization": f"Bearer {key}"}
        way = forwarded(
            self.cluster, self.namespace, f"service/{self.name}-gateway", 80, seconds=60
        )
        async with way as url, aiohttp.ClientSession(headers=headers) as http:
            yield Caller(url=url, http=http, pool=pool)
