"""What a gateway is told at its start; read once from the command line and passed down."""

import argparse
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Settings:
    store: str
    """``sqlite:PATH`` or ``etcd://host:port[,host:port]``."""
    link_token_file: Path
    """Holds the token of all links; with ``kubernetes``, the key that each pool's comes from."""
    pools_file: Path | None = None
    kubernetes: bool = False
    """Pools come from the Kubernetes API, in place of the pools file."""
    watch_namespaces: tuple[str, ...] = ()
    """Whose pools are served with ``kubernetes``; none: those of all namespaces."""
    listen: tuple[str, int] = ("127.0.0.1", 8700)
    listen_fd: int | None = None
    """An open listening socket; in the place of ``listen``."""
    namespace: str = "default"
    """Of pools that are called without one."""
    name: str = "gateway"
    log_format: Literal["text", "json"] = "text"
    allow_hosts: tuple[str, ...] = ()
    """Names beside loopback's by which a gateway on loopback may be called."""
    api_keys: Path | None = None
    """A directory with a file for each key."""
    kubernetes_tokens: bool = False
    """Callers may show tokens of Kubernetes."""
    token_audience: str = ""
    """For whom such a token has to be made; empty: for the API server."""
    authentication: bool = True
    """False: whoever reaches this gateway may do everything."""
    webhook_secrets: Path | None = None
    """A directory with a file for each pool that may tell callers of the ends of their jobs."""
    cluster_networks: tuple[str, ...] = ()
    """The cluster's own, though they look public: no webhook is sent there."""
    etcd_ca: Path | None = None
    etcd_cert: Path | None = None
    etcd_key: Path | None = None
    etcd_server_name: str = ""
    etcd_user: str = ""
    etcd_password_file: Path | None = None
    linger_seconds: float = 0.0
    """How long it still serves once it was told to stop: until nobody sends anything any more."""
    drain_seconds: float = 30.0
    die_with_parent: int = 0
    """Pid of a parent process with which to end; 0 when there is none."""
    body_seconds: float = 60.0
    """In which a request's body has to arrive."""
    sync_seconds: float = 10.0
    """How long a request waits for the first sync of the store and the pools."""
    heartbeat_seconds: float = 15.0
    """Between comments on an idle event stream, so that nothing on the way closes it."""


def parse(arguments: Sequence[str]) -> Settings:
    """Ends the process with a message on stderr when the arguments make no sense."""
    parser = _parser()
    found = Settings(**vars(parser.parse_args(arguments)))
    wrong = _contradiction(found)
    if wrong:
        parser.error(wrong)
    return found


def _contradiction(found: Settings) -> str:
    if not found.authentication and (found.api_keys or found.kubernetes_tokens):
        return "--no-authentication contradicts --api-keys and --kubernetes-tokens"
    if found.token_audience and not found.kubernetes_tokens:
        return "--token-audience is for --kubernetes-tokens"
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "anypod_gateway", description="The HTTP front of AnyPod's pools.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--listen", type=address, default=("127.0.0.1", 8700), metavar="HOST:PORT")
    add("--listen-fd", type=int, metavar="N", help="an open listening socket, instead")
    add("--store", required=True, metavar="URL", help="sqlite:PATH or etcd://host:port[,...]")
    add("--namespace", default="default")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--pools-file", type=Path, metavar="FILE", help="says which pools there are"
    )
    source.add_argument("--kubernetes", action="store_true", help="the Kubernetes API says it")
    add(
        "--watch-namespace",
        dest="watch_namespaces",
        action=_Append,
        default=(),
        metavar="NAME",
        help="with --kubernetes: serve only pools of this namespace; repeatable",
    )
    add("--link-token-file", type=Path, required=True, metavar="FILE")
    add("--log-format", choices=["text", "json"], default="text")
    add("--name", default=socket.gethostname(), help="of this gateway, in logs and to workers")
    add(
        "--allow-host",
        dest="allow_hosts",
        action=_Append,
        default=(),
        metavar="NAME",
        help="a name beside localhost by which a gateway on loopback may be called; repeatable",
    )
    _add_callers(parser)
    _add_webhooks(parser)
    _add_etcd(parser)
    add("--linger-seconds", type=_seconds, default=0.0, metavar="S")
    add("--drain-seconds", type=_seconds, default=30.0, metavar="S")
    add("--body-seconds", type=_seconds, default=60.0, metavar="S")
    add(
        "--die-with-parent",
        type=int,
        default=0,
        metavar="PID",
        help="end when this process, which is the parent, ends",
    )
    return parser


def _add_callers(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--api-keys", type=Path, metavar="DIR", help="a file for each key; read as it changes")
    add(
        "--kubernetes-tokens",
        action="store_true",
        help="callers may show tokens of Kubernetes, which says what they may do",
    )
    add("--token-audience", default="", metavar="NAME", help="for whom such a token must be made")
    add(
        "--no-authentication",
        dest="authentication",
        action="store_false",
        help="whoever reaches this gateway may do everything",
    )


def _add_webhooks(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--webhook-secrets",
        type=Path,
        metavar="DIR",
        help="a file for each pool with what its webhooks are signed with",
    )
    add(
        "--cluster-network",
        dest="cluster_networks",
        type=_network,
        action=_Append,
        default=(),
        metavar="CIDR",
        help="a network that no webhook is sent to, beside those that are not public; repeatable",
    )


def _add_etcd(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--etcd-ca", type=Path, metavar="FILE", help="who signed etcd's certificate; means TLS")
    add("--etcd-cert", type=Path, metavar="FILE", help="to show to etcd; with --etcd-key")
    add("--etcd-key", type=Path, metavar="FILE")
    add("--etcd-server-name", default="", metavar="NAME", help="in the certificates of all members")
    add("--etcd-user", default="", metavar="NAME")
    add("--etcd-password-file", type=Path, metavar="FILE")


class _Append(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), values))


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 86_400:
        raise ValueError(text)
    return value


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text))


def address(text: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port``."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
