"""``anypod sessions ...``."""

from typing import Annotated

import typer

from anypod.cli.options import (
    DEFAULT_POOL,
    DEFAULT_URL,
    Format,
    Output,
    Pool,
    Url,
    complete_session,
    connected,
    group,
)

SessionKey = Annotated[
    str, typer.Argument(metavar="KEY", help="The session.", autocompletion=complete_session)
]
SessionKeys = Annotated[
    list[str], typer.Argument(metavar="KEY...", help="Sessions.", autocompletion=complete_session)
]


def make() -> typer.Typer:
    return group(
        "sessions",
        "List, show, end sessions.",
        list=_list_sessions,
        get=_get_session,
        delete=_delete_sessions,
    )


def _list_sessions(
    output: Output = Format.TABLE, pool: Pool = DEFAULT_POOL, url: Url = DEFAULT_URL
) -> None:
    """List sessions."""
    from anypod.cli.tables import show_all

    with connected(url, pool) as client:
        show_all(
            client.sessions.list(),
            output,
            {
                "KEY": "id",
                "WORKER": "worker",
                "EPOCH": "epoch",
                "CREATED": "created_at",
                "EXPIRES": "expires_at",
            },
        )


def _get_session(
    session: SessionKey,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """Show a session, with its state."""
    from anypod.cli.tables import asking, show_one

    with connected(url, pool) as client, asking():
        document = client.sessions.get(session)
    show_one(document, output)


def _delete_sessions(
    sessions: SessionKeys,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """End sessions, with the programs that they own."""
    from anypod.cli.exits import each
    from anypod.cli.tables import asking, told

    with connected(url, pool) as client:

        def end(session: str) -> None:
            with asking():
                client.sessions.end(session)
            told(f"session {session} is ended", output, session=session, ended=True)

        each(sessions, end)
