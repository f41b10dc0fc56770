"""``anypod programs ...``."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from anypod.cli.options import (
    DEFAULT_POOL,
    DEFAULT_URL,
    Format,
    Labels,
    Output,
    Pool,
    Session,
    Url,
    complete_program,
    connected,
    group,
    labels_of,
)

if TYPE_CHECKING:
    from anypod.api.programs import RevisionOrigin
    from anypod.client import Client
    from anypod.client.sync import Programs

ProgramId = Annotated[
    str, typer.Argument(metavar="ID", help="The program.", autocompletion=complete_program)
]
ProgramIds = Annotated[
    list[str], typer.Argument(metavar="ID...", help="Programs.", autocompletion=complete_program)
]


def make() -> typer.Typer:
    return group(
        "programs",
        "List, show, delete programs; their revisions.",
        list=_list_programs,
        get=_get_program,
        delete=_delete_programs,
        revisions=_list_revisions,
        rollback=_roll_back,
    )


def owned_by(client: "Client", session: str | None) -> "Programs":
    """The pool's programs, or those that the session owns."""
    return client.programs if session is None else client.session(session).programs


def _list_programs(
    label: Labels = None,
    session: Session = None,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """List the pool's programs, or those that a session owns."""
    from anypod.cli.tables import show_all

    with connected(url, pool, session=session) as client:
        programs = owned_by(client, session)
        show_all(
            programs.list(labels_of(label)),
            output,
            {
                "ID": "id",
                "REVISION": lambda program: program.revision[:12],
                "ENTRYPOINT": "entrypoint",
                "STREAMS": "streams",
                "LABELS": "labels",
                "UPDATED": "updated_at",
            },
        )


def _get_program(
    program: ProgramId,
    source: Annotated[
        bool, typer.Option("--source", help="Print its files, or its definition, alone.")
    ] = False,
    session: Session = None,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """Show a program."""
    from anypod.cli import printed
    from anypod.cli.tables import asking, out, show_json, show_one

    with connected(url, pool, session=session) as client, asking():
        programs = owned_by(client, session)
        document = programs.get(program)
    if not source:
        show_one(document, output, leave_out=("files",))
        return
    if document.definition is not None:
        show_json({"kind": document.kind, **document.definition})
    for path, content in document.files.items():
        if len(document.files) > 1:
            out(f"# {path}")
        printed.copy(content.removesuffix("\n") + "\n", sys.stdout)


def _delete_programs(
    programs: ProgramIds,
    session: Session = None,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """Delete programs with all their revisions."""
    from anypod.cli.exits import each
    from anypod.cli.tables import asking, told

    with connected(url, pool, session=session) as client:
        owned = owned_by(client, session)

        def delete(program: str) -> None:
            with asking():
                owned.delete(program)
            told(f"program {program} is deleted", output, program=program, deleted=True)

        each(programs, delete)


def _list_revisions(
    program: ProgramId,
    session: Session = None,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """List a program's revisions, the latest first."""
    from anypod.cli.tables import show_all

    with connected(url, pool, session=session) as client:
        programs = owned_by(client, session)
        show_all(
            programs.revisions(program),
            output,
            {
                "REVISION": "revision",
                "CREATED": "created_at",
                "LATEST": "latest",
                "SCORE": lambda one: _scores(one.origin),
            },
        )


def _scores(origin: "RevisionOrigin | None") -> str | None:
    """Of a revision that an optimiser found: its parent's, and its own."""
    return f"{origin.before:.3f} to {origin.after:.3f}" if origin is not None else None


def _roll_back(
    program: ProgramId,
    revision: Annotated[
        str | None,
        typer.Argument(metavar="[REVISION]", help="At least 8 digits. Default: the one before."),
    ] = None,
    session: Session = None,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """Make an earlier revision the latest."""
    from anypod.cli.tables import asking, show_one

    with connected(url, pool, session=session) as client, asking():
        document = owned_by(client, session).rollback(program, revision)
    show_one(document, output, leave_out=("files",))
