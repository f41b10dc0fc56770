"""Options that many commands share, and the client that they describe."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anypod.cli import keys
from anypod.cli.exits import Usage
from anypod.cli.keys import keyed

if TYPE_CHECKING:
    from anypod.client import Client

DEFAULT_URL = "http://127.0.0.1:8700"
DEFAULT_POOL = "default"
COMPLETION_SECONDS = 2.0
COMPLETED_JOBS = 100


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


def _complete(context: typer.Context, what: str, incomplete: str) -> list[str]:
    """Names from the gateway; none when it is not there, for completion must not complain."""
    from anypod.client import Client

    url = context.params.get("url") or DEFAULT_URL
    pool = context.params.get("pool") or DEFAULT_POOL
    try:
        key = keys.read(context.params.get(keys.PARAMETER))
        with Client(url, pool, timeout=COMPLETION_SECONDS, retries=0, api_key=key) as client:
            match what:
                case "programs":
                    names = [program.id for program in client.programs.list()]
                case "sessions":
                    names = [session.id for session in client.sessions.list()]
                case "jobs":
                    names = [job.id for job in islice(client.jobs.list(), COMPLETED_JOBS)]
                case "workers":
                    names = [worker.name for worker in client.workers.list()]
                case _:
                    names = [found.name for found in client.pools.list()]
    except Exception:  # noqa: BLE001 - whatever it is, there is nothing to complete
        return []
    return [name for name in names if name.startswith(incomplete)]


def complete_program(context: typer.Context, incomplete: str) -> list[str]:
    return _complete(context, "programs", incomplete)


def complete_session(context: typer.Context, incomplete: str) -> list[str]:
    return _complete(context, "sessions", incomplete)


def complete_job(context: typer.Context, incomplete: str) -> list[str]:
    return _complete(context, "jobs", incomplete)


def complete_worker(context: typer.Context, incomplete: str) -> list[str]:
    return _complete(context, "workers", incomplete)


def complete_pool(context: typer.Context, incomplete: str) -> list[str]:
    return _complete(context, "pools", incomplete)


def complete_target(context: typer.Context, incomplete: str) -> list[str]:
    """Programs; and files and folders here, which shells offer only where there is nothing else."""
    folder, _, _ = incomplete.rpartition("/")
    try:
        here = [
            f"{path}/" if path.is_dir() else str(path) for path in Path(folder or ".").iterdir()
        ]
    except OSError:
        here = []
    return [name for name in here if name.startswith(incomplete)] + complete_program(
        context, incomplete
    )


Url = Annotated[
    str, typer.Option("--url", envvar="ANYPOD_URL", help="Where the gateway is.", metavar="URL")
]
Pool = Annotated[
    str,
    typer.Option(
        "--pool",
        envvar="ANYPOD_POOL",
        help="The pool.",
        metavar="NAME",
        autocompletion=complete_pool,
    ),
]
Output = Annotated[Format, typer.Option("--output", "-o", help="How results are printed.")]
Whole = Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON; as -o json.")]
Session = Annotated[
    str | None,
    typer.Option("--session", help="The session.", metavar="KEY", autocompletion=complete_session),
]

Lm = Annotated[
    str | None,
    typer.Option("--lm", help="Of the pool's LMs, for a program of kind dspy.", metavar="NAME"),
]

Labels = Annotated[
    list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="Only these.")
]


def labels_of(pairs: list[str] | None) -> dict[str, str]:
    """Raises Usage."""
    found: dict[str, str] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise Usage(f"--label {pair!r} is not KEY=VALUE")
        if key in found:
            raise Usage(f"--label {key!r} is given twice")
        found[key] = value
    return found


def group(name: str, text: str, **commands: Callable[..., None]) -> typer.Typer:
    """A command that has verbs."""
    made = typer.Typer(name=name, help=text, no_args_is_help=True, rich_markup_mode=None)
    for verb, command in commands.items():
        made.command(verb)(keyed(command))
    return made


@contextmanager
def connected(url: str, pool: str, *, session: str | None = None) -> Iterator["Client"]:
    """A client; with a session, one that knows by which header the pool takes it."""
    from anypod.client import Client
    from anypod.client.settings import BadKey

    key = keys.chosen()
    try:
        client = Client(url, pool, api_key=key)
    except BadKey as wrong:
        raise Usage(str(wrong)) from None
    except ValueError as wrong:
        raise Usage(f"--url: {wrong}") from None
    with client:
        header = None if session is None else _session_header(client, pool)
        if header is None or header == "X-Session-ID":
            yield client
            return
    with Client(url, pool, session_header=header, api_key=key) as client:
        yield client


def _session_header(client: "Client", pool: str) -> str:
    sessions = client.pools.get(pool).spec.get("sessions", {})
    return str(sessions.get("header", "X-Session-ID"))
