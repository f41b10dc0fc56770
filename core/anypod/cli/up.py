"""``anypod up``: from options to settings of local mode."""

from pathlib import Path
from typing import Literal

from anypod.cli.exits import Usage
from anypod.local.console import Console
from anypod.local.settings import Settings
from anypod.local.up import up


def up_with(
    began: float,
    *,
    manifest: Path | None,
    workers: int | None,
    executors: int | None,
    preload: str | None,
    store: str | None,
    port: int,
    host: str,
    directory: Path,
    log_format: Literal["text", "json"],
) -> None:
    if store is not None and not store.startswith(("sqlite:", "etcd://")):
        raise Usage(f"--store: {store!r} is neither sqlite:PATH nor etcd://HOST:PORT[,HOST:PORT]")
    settings = Settings(
        manifest=manifest,
        workers=workers,
        executors=executors,
        preload=None if preload is None else _modules(preload),
        store=store,
        host=host,
        port=port,
        directory=directory,
        log_format=log_format,
    )
    up(settings, Console(log_format), began)


def _modules(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
