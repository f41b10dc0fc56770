"""``anypod top``: frames of what the gateway says of its pools, again and again."""

import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from anypod.api.pools import PoolDocument, WorkerDocument
from anypod.api.problems import AnyPodError
from anypod.cli.options import DEFAULT_POOL, Format, connected
from anypod.cli.tables import out, size, text
from anypod.client.errors import NoAnswer

if TYPE_CHECKING:
    from anypod.client import Client

BAR_WIDTH = 16
PLAIN_WIDTH = 120


@dataclass(frozen=True)
class Frame:
    """What there is at one moment."""

    url: str
    pools: list[PoolDocument] = field(default_factory=list)
    workers: dict[str, list[WorkerDocument]] = field(default_factory=dict)
    problem: str = ""
    """Why there is nothing new."""


def top(url: str, pool: str | None, *, once: bool, interval: float, output: Format) -> None:
    """Until Ctrl-C. Raises what the first look raises; later ones only show it."""
    with connected(url, pool or DEFAULT_POOL) as client:
        frame = _look(client, url, pool)
        with suppress(KeyboardInterrupt):  # as it is meant to end
            if once or output is Format.JSON or not sys.stdout.isatty():
                _print(client, frame, pool, once=once, interval=interval, output=output)
            else:
                _watch(client, frame, pool, interval)


def _watch(client: "Client", frame: Frame, pool: str | None, interval: float) -> None:
    with Live(render(frame), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            frame = _look_again(client, frame, pool)
            live.update(render(frame), refresh=True)


def _print(
    client: "Client",
    frame: Frame,
    pool: str | None,
    *,
    once: bool,
    interval: float,
    output: Format,
) -> None:
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)
    while True:
        if output is Format.JSON:
            out(json.dumps(_document(frame)))
        else:
            console.print(render(frame))
        sys.stdout.flush()
        if once:
            return
        time.sleep(interval)
        frame = _look_again(client, frame, pool)


def _look(client: "Client", url: str, pool: str | None) -> Frame:
    pools = list(client.pools.list()) if pool is None else [client.pools.get(pool)]
    workers = {}
    for found in pools:
        with connected(url, found.name) as of_pool:
            workers[found.name] = list(of_pool.workers.list())
    return Frame(url, pools, workers)


def _look_again(client: "Client", last: Frame, pool: str | None) -> Frame:
    try:
        return _look(client, last.url, pool)
    except (AnyPodError, NoAnswer) as failure:
        return Frame(last.url, last.pools, last.workers, str(failure))


def _document(frame: Frame) -> dict[str, Any]:
    return {
        "pools": [
            {
                **pool.model_dump(mode="json", by_alias=True),
                "workerList": [
                    worker.model_dump(mode="json", by_alias=True)
                    for worker in frame.workers.get(pool.name, [])
                ],
            }
            for pool in frame.pools
        ],
        "problem": frame.problem,
    }


def render(frame: Frame) -> RenderableType:
    head = Text.assemble(("anypod top", "bold"), "  ", frame.url, "  ", time.strftime("%H:%M:%S"))
    parts: list[RenderableType] = [head]
    if frame.problem:
        parts.append(Text(f"no answer, this is what was last seen: {frame.problem}", "bold red"))
    if not frame.pools:
        parts.append(Text("there is no pool"))
    for pool in frame.pools:
        parts += [Text(), _pool_line(pool)]
        if pool.message:
            parts.append(Text(f"  {text(pool.message)}", "red"))
        parts.append(_worker_table(frame.workers.get(pool.name, [])))
    return Group(*parts)


def _pool_line(pool: PoolDocument) -> Text:
    workers, executors, queue = pool.workers, pool.executors, pool.queue
    well = "green" if workers.ready == workers.total else "yellow" if workers.ready else "red"
    return Text.assemble(
        (f"pool {pool.name}", "bold"),
        "   workers ",
        (f"{workers.ready}/{workers.total} ready", well),
        f"   executors {executors.busy}/{executors.total} busy",
        "   queue ",
        (f"{queue.depth}/{queue.limit}", "yellow" if queue.depth else ""),
        f"   sessions {pool.sessions}",
    )


def _worker_table(workers: list[WorkerDocument]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    for name in (
        "  WORKER",
        "STATE",
        "EXECUTORS",
        "RUNNING",
        "SESSIONS",
        "MEMORY",
        "REPLACED",
        "MESSAGE",
    ):
        table.add_column(name, overflow="fold" if name == "MESSAGE" else "ellipsis")
    for worker in workers:
        table.add_row(
            f"  {worker.name}",
            _state(worker),
            _bar(worker.busy, worker.executors),
            str(worker.running),
            str(worker.sessions),
            size(worker.memory_bytes) if worker.memory_bytes else "-",
            text(worker.restarts),
            Text(text(worker.message) if worker.message else ""),
        )
    return table


def _state(worker: WorkerDocument) -> Text:
    if worker.draining:
        return Text("draining", "yellow")
    return Text("ready", "green") if worker.ready else Text("not ready", "red")


def _bar(busy: int, total: int) -> Text:
    """One cell per executor, or as many as there is room for."""
    width = min(total, BAR_WIDTH)
    filled = round(busy / total * width) if total else 0
    return Text.assemble(
        ("█" * filled, "yellow"), ("░" * (width - filled), "dim"), f" {busy}/{total}"
    )
