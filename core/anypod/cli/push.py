"""``anypod push``: a DSPy module of a Python file becomes a program of the pool.

DSPy is imported here and nowhere else in the command line, which starts without it.
"""

import sys
from typing import TYPE_CHECKING, Any

from anypod.cli import sources
from anypod.cli.exits import Usage
from anypod.cli.options import Format, connected
from anypod.cli.tables import asking, out, show_one

if TYPE_CHECKING:
    from anypod.api.programs import ProgramDocument
    from anypod.client.calls import CodeArguments
    from anypod.dspy.push.find import Found


def push(
    target: str,
    *,
    url: str,
    pool: str,
    id_: str | None,
    lm: str | None,
    dry_run: bool,
    output: Format,
) -> None:
    program, given = read(target, id_, lm)
    if dry_run:
        _show_definition({"id": program, **given})
        return
    with connected(url, pool) as client, asking():
        document = client.programs.put(program, **given)
    if output is Format.JSON:
        show_one(document, output)
        return
    out(f"program {document.id}, revision {document.revision[:12]}")
    out(f"run it: {_command(document)}")


def read(target: str, id_: str | None, lm: str | None) -> tuple[str, "CodeArguments"]:
    """The id and the program. Raises Usage."""
    try:
        from anypod.dspy.push import CannotBeServed, definition
        from anypod.dspy.push.find import NotFound, find
    except ModuleNotFoundError as missing:
        if missing.name != "dspy":
            raise
        raise Usage(
            "anypod push needs DSPy, which is not installed here: pip install dspy"
        ) from None

    try:
        found = find(target)
        given = definition(found.object, lm=lm, name=found.name)
    except NotFound as wrong:
        raise Usage(str(wrong)) from None
    except CannotBeServed as wrong:
        raise Usage(f"{target} cannot be a program as it is\n{wrong}") from None
    return id_ or _id(found), given


def _id(found: "Found") -> str:
    """Of the file, as everywhere; two of its modules must not take each other's place."""
    if found.others:
        name, listed = found.name, ", ".join(sorted({found.name, *found.others}))
        raise Usage(f"the file has more than one module ({listed}): give {name} an id with --id")
    return sources.read(str(found.file)).id


def _command(document: "ProgramDocument") -> str:
    inputs = (document.inputs_schema or {}).get("properties", {})
    return " ".join(("anypod run", document.id, *(f"{name}=..." for name in inputs)))


def _show_definition(document: dict[str, Any]) -> None:
    """As YAML, in which source can be read; ``anypod run`` takes it."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: Dumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    yaml.dump(document, sys.stdout, Dumper, sort_keys=False, allow_unicode=True)
