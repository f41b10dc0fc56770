"""A real Kubernetes API on loopback without nodes: etcd, kube-apiserver, kube-controller-manager.

The controllers that make what the operator's objects become (ReplicaSets, pods, garbage collection)
are real too; there is no scheduler and no kubelet, so what pods report, tests write.
"""

import contextlib
import json
import secrets
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import versions
from tests.cluster.binaries import kubernetes_binaries
from tests.cluster.control_plane import reserved_port
from tests.support.etcd import running_etcd

Raw = dict[str, Any]

START_SECONDS = 120.0
_TOKENS = {"admin": "system:masters", "operator": "anypod:operators"}
_CONTROLLERS = (
    "deployment-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "replicaset-controller",
    "serviceaccount-controller",
)


class ApiFailure(Exception):
    def __init__(self, status: int, document: Raw) -> None:
        super().__init__(document.get("message", ""))
        self.status = status
        self.document = document


@dataclass(frozen=True)
class KubernetesApi:
    url: str
    directory: Path
    tokens: Mapping[str, str]

    def kubeconfig(self, who: str, directory: Path | None = None, url: str = "") -> Path:
        """For a user: ``admin``, or ``operator``, who has only what tests grant."""
        path = (directory or self.directory) / f"{who}.kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [
                        {
                            "name": "test",
                            "cluster": {
                                "server": url or self.url,
                                "insecure-skip-tls-verify": True,
                            },
                        }
                    ],
                    "users": [{"name": who, "user": {"token": self.tokens[who]}}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": who}}],
                }
            )
        )
        return path

    def call(self, method: str, path: str, body: Raw | None = None, content: str = "json") -> Raw:
        """As the administrator. Raises ApiFailure."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.tokens['admin']}",
                "Content-Type": f"application/{content}",
                "Accept": "application/json",
            },
        )
        try:
            with _opener().open(request, timeout=30) as answer:
                found: Raw = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                document = json.loads(text)
            except ValueError:
                document = {"message": text.decode(errors="replace")}
            raise ApiFailure(error.code, document) from None

    def get(self, path: str) -> Raw | None:
        """None when it is not there."""
        try:
            return self.call("GET", path)
        except ApiFailure as failure:
            if failure.status == 404:
                return None
            raise

    def apply(self, path: str, body: Raw, manager: str = "test") -> Raw:
        where = f"{path}?fieldManager={manager}&force=true&fieldValidation=Strict"
        return self.call("PATCH", where, body, "apply-patch+yaml")

    def merge(self, path: str, body: Raw) -> Raw:
        return self.call("PATCH", path, body, "merge-patch+json")

    def delete(self, path: str) -> None:
        with contextlib.suppress(ApiFailure):
            self.call("DELETE", path)

    def audit(self, user: str) -> list[Raw]:
        """The calls of a user, watches not among them, in order."""
        lines = (self.directory / "audit.log").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        return [
            record
            for record in records
            if record["user"]["username"] == user and record["verb"] != "watch"
        ]


def _opener() -> urllib.request.OpenerDirector:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
    )


@contextmanager
def running_api(directory: Path) -> Iterator[KubernetesApi]:
    """Ready, with its controllers; all of it ends with the block."""
    folder = kubernetes_binaries(versions.kubernetes()).bin
    directory.mkdir(parents=True, exist_ok=True)
    tokens = {who: secrets.token_hex(16) for who in _TOKENS}
    _write_files(directory, tokens)
    with ExitStack() as stack:
        etcd = stack.enter_context(running_etcd(directory / "etcd"))
        port = stack.enter_context(reserved_port())
        api = KubernetesApi(f"https://127.0.0.1:{port}", directory, tokens)
        command = [str(folder / "kube-apiserver"), *_options(directory, etcd.url, port)]
        server = stack.enter_context(_process(command, directory / "kube-apiserver.log"))
        _wait_until_ready(api, server)
        manager = [
            str(folder / "kube-controller-manager"),
            f"--kubeconfig={api.kubeconfig('admin')}",
            f"--controllers={','.join(_CONTROLLERS)}",
            "--leader-elect=false",
            "--secure-port=0",
            "--concurrent-gc-syncs=4",
        ]
        stack.enter_context(_process(manager, directory / "kube-controller-manager.log"))
        yield api


def _write_files(directory: Path, tokens: Mapping[str, str]) -> None:
    lines = [f'{token},{who},{who},"{_TOKENS[who]}"' for who, token in tokens.items()]
    (directory / "tokens.csv").write_text("\n".join(lines))
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "users": ["operator"]}, {"level": "None"}],
    }
    (directory / "audit.json").write_text(json.dumps(policy))


def _options(directory: Path, etcd: str, port: int) -> list[str]:
    key = directory / "accounts.key"
    if not key.exists():
        openssl = shutil.which("openssl") or "openssl"
        command = [openssl, "genrsa", "-out", str(key), "2048"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    return [
        f"--etcd-servers={etcd.replace('etcd://', 'http://')}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--permit-port-sharing",
        "--allow-privileged",
        f"--cert-dir={directory / 'certificates'}",
        f"--token-auth-file={directory / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-cluster-ip-range=198.19.0.0/24",
        "--endpoint-reconciler-type=none",
        f"--audit-policy-file={directory / 'audit.json'}",
        f"--audit-log-path={directory / 'audit.log'}",
    ]


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={}
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=10)


def _wait_until_ready(api: KubernetesApi, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    log = api.directory / "kube-apiserver.log"
    while not _is_ready(api):
        if server.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"kube-apiserver did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.1)


def _is_ready(api: KubernetesApi) -> bool:
    request = urllib.request.Request(
        f"{api.url}/readyz", headers={"Authorization": f"Bearer {api.tokens['admin']}"}
    )
    try:
        with _opener().open(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
