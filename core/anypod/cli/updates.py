"""A file put over the program that is there: what the file does not say stays as it is.

A file or a folder of Python says code and nothing else. How long it may take, how many of it share
an executor, and where it is entered, others have said, and count on. A definition says all of it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anypod.api.programs import ProgramDocument
    from anypod.cli.sources import Source
    from anypod.client import Client
    from anypod.client.calls import CodeArguments

ATTEMPTS = 10
"""While others change the program too: one of them has its way each time."""


def put(client: "Client", id_: str, source: "Source") -> str:
    """Create or update it; its id."""
    from anypod.client import Conflict

    if source.is_whole:
        return client.programs.put(id_, **source.given).id
    for _ in range(ATTEMPTS - 1):
        try:
            return _put_over(client, id_, source.given)
        except Conflict:
            pass
    return _put_over(client, id_, source.given)


def _put_over(client: "Client", id_: str, given: "CodeArguments") -> str:
    """Raises Conflict when it has changed meanwhile."""
    from anypod.client import NotFound

    try:
        there = client.programs.get(id_)
    except NotFound as none:
        if none.type != "program-not-found":
            raise
        return client.programs.create(id_, **given).id
    settings: CodeArguments = {**_said_of(there), **given}
    return client.programs.put(id_, if_match=there.revision, **settings).id


def _said_of(program: "ProgramDocument") -> "CodeArguments":
    if program.kind != "python":
        return {}
    said: CodeArguments = {
        "entrypoint": program.entrypoint,
        "idempotent": program.idempotent,
        "concurrency": program.concurrency,
    }
    if program.timeout_seconds is not None:
        said["timeout_seconds"] = program.timeout_seconds
    return said
