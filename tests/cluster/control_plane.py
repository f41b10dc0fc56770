"""The programs of a control plane: as commands for a node, and alone on loopback for tests.

``api_server`` is for tests that need the API, and at most some controllers that act on it: ready in
seconds, for any user, without nodes or scheduler.
"""

import http.client
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import versions
from tests.cluster.addresses import Addresses
from tests.cluster.binaries import kubernetes_binaries, why_not
from tests.cluster.certificates import Authority
from tests.cluster.kubectl import Kubectl
from tests.support.etcd import running_etcd

_START_SECONDS = 120.0


@dataclass(frozen=True)
class ApiServer:
    """A Kubernetes API on loopback, with an administrator's kubeconfig."""

    url: str
    kubeconfig: Path
    kubectl: Kubectl
    log: Path


def why_no_api_server() -> str | None:
    """Why ``api_server`` cannot run here, or None."""
    for program, package in (("etcd", "etcd-server"), ("openssl", "openssl")):
        if shutil.which(program) is None:
            return f"no {program} on PATH (apt-get install {package})"
    return why_not(versions.kubernetes())


@contextmanager
def api_server(
    directory: Path, *, options: Sequence[str] = (), controllers: Sequence[str] = ()
) -> Iterator[ApiServer]:
    """etcd and kube-apiserver on free ports of 127.0.0.1; all ends with the block.

    ``options`` are more of the API server's. Without any of the ``controllers`` nothing finalises
    a namespace, and a pod needs no service account.
    """
    directory.mkdir(parents=True, exist_ok=True)
    programs = kubernetes_binaries(versions.kubernetes())
    authority = Authority(directory / "certificates")
    authority.create()
    authority.issue("apiserver", "/CN=kube-apiserver", "IP:127.0.0.1", "DNS:localhost")
    authority.issue("admin", "/O=system:masters/CN=admin")
    with running_etcd(directory / "etcd") as etcd, reserved_port() as port:
        url = f"https://127.0.0.1:{port}"
        kubeconfig = authority.kubeconfig("admin", url)
        log = directory / "kube-apiserver.log"
        command = [
            str(programs.path("kube-apiserver")),
            *api_server_options(authority, f"http://{etcd.endpoint}", "127.0.0.1"),
            f"--secure-port={port}",
            "--permit-port-sharing",
            "--service-cluster-ip-range=198.19.0.0/24",
            "--endpoint-reconciler-type=none",
            "--authorization-mode=RBAC",
            *(() if controllers else ("--disable-admission-plugins=ServiceAccount",)),
            *options,
        ]
        with _running(command, log) as process, ExitStack() as stack:
            _wait_until_ready(process, port, authority, log)
            if controllers:
                manager = [
                    str(programs.path("kube-controller-manager")),
                    *controller_manager_options(kubeconfig),
                    f"--controllers={','.join(controllers)}",
                    "--secure-port=0",
                ]
                stack.enter_context(_running(manager, directory / "kube-controller-manager.log"))
            kubectl = Kubectl(programs.path("kubectl"), kubeconfig)
            yield ApiServer(url, kubeconfig, kubectl, log)


def api_server_options(authority: Authority, etcd: str, address: str) -> list[str]:
    """What every API server of ours is told."""
    mine = authority.issued("apiserver")
    return [
        f"--etcd-servers={etcd}",
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--tls-cert-file={mine.certificate}",
        f"--tls-private-key-file={mine.key}",
        f"--client-ca-file={authority.certificate}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={authority.service_accounts.certificate}",
        f"--service-account-signing-key-file={authority.service_accounts.key}",
        "--allow-privileged",
    ]


def controller_manager_options(kubeconfig: Path) -> list[str]:
    """What every controller manager of ours is told."""
    return [
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        # All its controllers ask for something before the last of them starts.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]


def programs(authority: Authority, plan: Addresses, etcd_data: Path) -> Mapping[str, Sequence[str]]:
    """The whole control plane, for a cluster's first node."""
    store = "http://127.0.0.1:2379"
    pair = authority.service_accounts
    signer = authority.issued("ca")
    admin = authority.issued("admin")
    manager = authority.kubeconfig_of("kube-controller-manager")
    scheduler = authority.kubeconfig_of("kube-scheduler")
    return {
        "etcd": [
            "etcd",
            f"--data-dir={etcd_data}",
            f"--listen-client-urls={store}",
            f"--advertise-client-urls={store}",
            "--listen-peer-urls=http://127.0.0.1:2380",
        ],
        "kube-apiserver": [
            "kube-apiserver",
            *api_server_options(authority, store, plan.node(1)),
            f"--service-cluster-ip-range={plan.services}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--kubelet-client-certificate={admin.certificate}",
            f"--kubelet-client-key={admin.key}",
            "--kubelet-preferred-address-types=InternalIP",
        ],
        "kube-controller-manager": [
            "kube-controller-manager",
            *controller_manager_options(manager),
            f"--root-ca-file={authority.certificate}",
            f"--service-account-private-key-file={pair.key}",
            f"--cluster-signing-cert-file={signer.certificate}",
            f"--cluster-signing-key-file={signer.key}",
            "--use-service-account-credentials",
            # Sooner than the default, as tests wait for it.
            "--node-monitor-grace-period=16s",
        ],
        "kube-scheduler": [
            "kube-scheduler",
            f"--kubeconfig={scheduler}",
            f"--authentication-kubeconfig={scheduler}",
            f"--authorization-kubeconfig={scheduler}",
            "--leader-elect=false",
        ],
    }


def issue_certificates(authority: Authority, plan: Addresses) -> None:
    """What the control plane and its users need; nodes have their own."""
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    addresses = (plan.node(1), plan.kubernetes_service)
    authority.issue(
        "apiserver",
        "/CN=kube-apiserver",
        *(f"IP:{address}" for address in addresses),
        *(f"DNS:{name}" for name in names),
    )
    users = {
        name: f"/CN=system:{name}"
        for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy")
    }
    users["admin"] = "/O=system:masters/CN=admin"
    for name, subject in users.items():
        authority.issue(name, subject)
        authority.kubeconfig(name, plan.api_server)


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port that nobody else gets: bound here, and shared with the API server alone."""
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reservation.bind(("127.0.0.1", 0))
        yield reservation.getsockname()[1]


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={}
        )
    try:
        yield process
    finally:
        # There is nothing to be saved, and a graceful end waits for all who watch.
        process.kill()
        process.wait(timeout=10)


def _wait_until_ready(
    process: subprocess.Popen[bytes], port: int, authority: Authority, log: Path
) -> None:
    until = time.monotonic() + _START_SECONDS
    while not answers_ready("127.0.0.1", port, authority):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"kube-apiserver did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.05)


def answers_ready(address: str, port: int, authority: Authority) -> bool:
    """Whether the API server there says that it is ready."""
    admin = authority.issued("admin")
    trust = ssl.create_default_context(cafile=str(authority.certificate))
    trust.load_cert_chain(admin.certificate, admin.key)
    connection = http.client.HTTPSConnection(address, port, context=trust, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
