"""``anypod pools ...`` and ``anypod workers ...``."""

from typing import Annotated

import typer

from anypod.cli.options import (
    DEFAULT_POOL,
    DEFAULT_URL,
    Format,
    Output,
    Pool,
    Url,
    complete_pool,
    complete_worker,
    connected,
    group,
)

WorkerName = Annotated[
    str, typer.Argument(metavar="NAME", help="The worker.", autocompletion=complete_worker)
]
PoolName = Annotated[
    str, typer.Argument(metavar="NAME", help="The pool.", autocompletion=complete_pool)
]


def make_workers() -> typer.Typer:
    return group("workers", "List and show workers.", list=_list_workers, get=_get_worker)


def make_pools() -> typer.Typer:
    return group("pools", "List and show pools.", list=_list_pools, get=_get_pool)


def _list_workers(
    output: Output = Format.TABLE, pool: Pool = DEFAULT_POOL, url: Url = DEFAULT_URL
) -> None:
    """List a pool's workers."""
    from anypod.cli.tables import show_all

    with connected(url, pool) as client:
        show_all(
            client.workers.list(),
            output,
            {
                "NAME": "name",
                "READY": "ready",
                "EXECUTORS": "executors",
                "BUSY": "busy",
                "RUNNING": "running",
                "SESSIONS": "sessions",
                "REPLACED": "restarts",
                "MESSAGE": "message",
            },
        )


def _get_worker(
    worker: WorkerName,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """Show a worker."""
    from anypod.cli.tables import asking, show_one

    with connected(url, pool) as client, asking():
        document = client.workers.get(worker)
    show_one(document, output)


def _list_pools(output: Output = Format.TABLE, url: Url = DEFAULT_URL) -> None:
    """List pools."""
    from anypod.cli.tables import show_all

    with connected(url, DEFAULT_POOL) as client:
        show_all(
            client.pools.list(),
            output,
            {
                "NAME": "name",
                "READY": "workers.ready",
                "WORKERS": "workers.total",
                "BUSY": "executors.busy",
                "EXECUTORS": "executors.total",
                "QUEUE": "queue.depth",
                "SESSIONS": "sessions",
                "MESSAGE": "message",
            },
        )


def _get_pool(name: PoolName, output: Output = Format.TABLE, url: Url = DEFAULT_URL) -> None:
    """Show a pool."""
    from anypod.cli.tables import asking, show_one

    with connected(url, name) as client, asking():
        document = client.pools.get(name)
    show_one(document, output)
