"""The key that every command takes: from a file, for what stands on a command line others can read.

The option is added to each command that calls a gateway; ``ANYPOD_API_KEY`` the client reads.
"""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import typer

from anypod.cli import exits
from anypod.cli.exits import Usage

ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        envvar="ANYPOD_API_KEY_FILE",
        help="A file with the key for the gateway; else ANYPOD_API_KEY holds the key.",
        metavar="FILE",
    ),
]
PARAMETER = "api_key_file"

_file: ContextVar[Path | None] = ContextVar("api_key_file", default=None)


def keyed(command: Callable[..., None]) -> Callable[..., None]:
    """The command with one more option. How it prints, its failures are told."""

    @functools.wraps(command)
    def with_key(**given: Any) -> None:
        _file.set(given.pop(PARAMETER))
        exits.as_json.set(bool(given.get("json_")) or given.get("output") == "json")
        command(**given)

    signature = inspect.signature(command)
    added = inspect.Parameter(
        PARAMETER, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=ApiKeyFile
    )
    parameters = [*signature.parameters.values(), added]
    with_key.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_key.__annotations__ = {**command.__annotations__, PARAMETER: ApiKeyFile}
    return with_key


def chosen() -> str | None:
    """The key of the file that was named; None to leave it to the client. Raises Usage."""
    return read(_file.get())


def read(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        key = file.read_text("ascii").strip()
    except OSError as reason:
        raise Usage(f"--api-key-file: {file}: {reason.strerror}") from None
    except UnicodeDecodeError:
        raise Usage(f"--api-key-file: {file} holds no key") from None
    if not key:
        raise Usage(f"--api-key-file: {file} is empty")
    return key
