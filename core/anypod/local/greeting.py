"""What a person sees when the pools are up: where to call, and a call that works."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from anypod.local.board import PoolState
from anypod.local.console import Console

USUAL_PORT = 8700
_BODY = (
    r'{"program": {"source": "def main(name): return f\"Hello, {name}\""}, '
    r'"inputs": {"name": "you"}}'
)
"""Stands in single quotes of a shell."""


def url_of(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def begin(console: Console, version: str, pools: Sequence[PoolState], store: str) -> None:
    for pool in pools:
        spec = pool.manifest.spec
        console.say(
            f"anypod {version}: pool {pool.name}, {_count(spec.replicas, 'worker')} "
            f"with {_count(spec.executors, 'executor')} each",
            pool=pool.name,
            workers=spec.replicas,
            executors=spec.executors,
        )
    console.say(f"programs and sessions are kept in {store}", store=store)


def warn_if_reachable(console: Console, host: str) -> None:
    if host not in {"127.0.0.1", "::1", "localhost"}:
        console.say(f"whoever can reach {host} can run programs on this machine, as you", "warning")


def ready(console: Console, url: str, pools: Sequence[PoolState], seconds: float) -> None:
    console.say(f"ready after {seconds:.1f} s on {url}", url=url, seconds=round(seconds, 3))
    pool = pools[0].name
    told = "" if urlsplit(url).port == USUAL_PORT else f" --url {url}"
    chosen = "" if pool == "default" else f" --pool {pool}"
    rows = {
        "Call it": f"curl {url}/v1/pools/{pool}/run -H 'Content-Type: application/json' \\\n"
        f"           -d '{_BODY}'",
        "Or run": f"anypod run FILE.py name=value{chosen}{told}",
        "Look": f"anypod top{chosen}{told}, or {url}/docs",
        "Stop": "Ctrl-C",
    }
    shown = [f"  {console.dim(f'{name}:'.ljust(8))} {what}" for name, what in rows.items()]
    console.show("", *shown, "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
