"""From what the command line says to a running launcher, or to why there is none.

The nursery is started before anything else is even imported: it takes longest.
"""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from anypod.local import processes
from anypod.local.children import Children
from anypod.local.console import Console
from anypod.local.directory import Directory
from anypod.local.nursery import Nursery
from anypod.local.relay import Relay
from anypod.local.settings import CannotStart, Settings

BACKLOG = 1024
KILL_SECONDS = 10.0
STDERR = 2


@dataclass(frozen=True, slots=True)
class Ground:
    """What a launcher stands on."""

    settings: Settings
    directory: Directory
    listener: socket.socket
    console: Console
    children: Children
    nursery: Nursery
    stderr: int
    """Where children log."""
    log_format: Literal["text", "json"]
    """In which they do."""
    began: float
    """By ``time.monotonic``, when the person asked."""


def up(settings: Settings, console: Console, began: float) -> None:
    """Runs until told to stop. Raises CannotStart."""
    processes.hide_memory()
    directory = Directory.take(settings.directory)
    try:
        with listen(settings.host, settings.port) as listener:
            asyncio.run(_launch(settings, directory, listener, console, began))
    finally:
        directory.release()
    console.say("stopped")


async def _launch(
    settings: Settings,
    directory: Directory,
    listener: socket.socket,
    console: Console,
    began: float,
) -> None:
    with _children(console) as (children, stderr):
        nursery = Nursery(children, stderr)
        nursery.start()
        from anypod.local import launcher, manifest

        ground = Ground(
            settings,
            directory,
            listener,
            console,
            children,
            nursery,
            stderr,
            "json" if console.is_live else settings.log_format,
            began,
        )
        try:
            await launcher.Launcher(ground, manifest.pools(settings)).run()
        finally:
            nursery.close()


@contextlib.contextmanager
def _children(console: Console) -> Iterator[tuple[Children, int]]:
    """Children to be, and where they write what they log; all are gone afterwards."""
    relay = Relay(console.foreign) if console.is_live else None
    children = Children()
    children.watch()
    try:
        yield children, STDERR if relay is None else relay.write_end
    finally:
        if not children.kill_all(KILL_SECONDS):
            console.say(f"some processes below {os.getpid()} could not be killed", "error")
        if relay is not None:
            relay.close()
        console.status("")


def listen(host: str, port: int) -> socket.socket:
    """The gateway's socket; ours, so that a gateway that dies leaves no refused call behind."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except socket.gaierror as reason:
        raise CannotStart(f"{host!r} is no address of this machine: {reason.strerror}") from None
    except OSError as reason:
        raise CannotStart(_why_not(host, port, reason)) from None


def _why_not(host: str, port: int, reason: OSError) -> str:
    if reason.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken by another program; "
            "stop that one, or choose another port with --port (0 takes any free one)"
        )
    if reason.errno == errno.EACCES:
        return f"port {port} may not be used without root; choose one above 1023 with --port"
    return f"cannot listen on {host} port {port}: {reason.strerror}"
