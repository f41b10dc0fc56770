"""The tables of the documentation say what the code does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.core import TyperGroup
from typer.main import get_command

from anypod.api.problems import TABLE
from anypod.cli.app import make_app
from anypod.resources.workerpool import WorkerPoolSpec, parse_quantity
from anypod_gateway import settings as gateway_settings
from anypod_gateway.routes import TABLE as ROUTES

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


def rows(page: str, first_heading: str, which: int = 0) -> list[list[str]]:
    """The cells of a page's table whose first heading is this one, without the heading."""
    text = (DOCS / page).read_text()
    tables = re.findall(rf"^\| {first_heading} \|.*\n\|[ |-]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    lines = tables[which].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def code(cell: str) -> str:
    return cell.strip("`")


def test_every_problem_type_is_in_the_table_of_errors() -> None:
    told = [(int(status), code(type_), title) for status, type_, title in rows(
        "http-api.md", "status"
    )]  # fmt: skip
    assert told == [(row.status, type_, row.title) for type_, row in TABLE.items()]


def test_every_route_is_in_the_table_of_routes() -> None:
    told = [code(route) for route, _ in rows("http-api.md", "method and path")]
    assert sorted(told) == sorted(f"{route.method} {route.path}" for route in ROUTES)


UNITS = {"Gi": 2**30, "Mi": 2**20, "Ki": 2**10}


def quantity(value: int) -> str:
    whole = (
        f"{value // size}{unit}" for unit, size in UNITS.items() if value and value % size == 0
    )
    return next(whole, str(value))


def is_quantity(field: FieldInfo) -> bool:
    return any(getattr(one, "func", None) is parse_quantity for one in field.metadata)


def shown(field: FieldInfo, value: Any) -> str:
    if is_quantity(field):
        return quantity(value)
    return str(value).removesuffix(".0")


def allowed(field: FieldInfo) -> str:
    """Of numbers the bounds, of choices the choices."""
    choices = get_args(field.annotation)
    if choices and all(isinstance(one, str) for one in choices):
        return ", ".join(f"`{one}`" for one in choices)
    bounds = {
        name: getattr(one, name)
        for one in field.metadata
        for name in ("gt", "ge", "le")
        if hasattr(one, name)
    }
    signs = {"gt": ">", "ge": "≥", "le": "≤"}
    return ", ".join(f"{signs[name]} {shown(field, value)}" for name, value in bounds.items())


def expected(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    for field in model.model_fields.values():
        path = f"{prefix}{field.alias}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from expected(field.annotation, f"{path}.")
        else:
            default = shown(field, field.get_default(call_default_factory=True))
            yield path, default, "" if isinstance(field.default, list) else allowed(field)


def test_every_field_of_the_manifest_is_in_the_table_with_its_default_and_bounds() -> None:
    told = [(code(f), code(default), bounds) for f, default, bounds, _ in rows(
        "configuration.md", "field"
    )]  # fmt: skip
    assert told == list(expected(WorkerPoolSpec))


def test_every_option_of_the_gateway_is_in_its_table() -> None:
    told = {code(option).split()[0] for option, *_ in rows("configuration.md", "gateway option")}
    actions = gateway_settings._parser()._actions
    assert told == {action.option_strings[-1] for action in actions} - {"--help"}


def test_every_option_of_anypod_up_is_in_its_table() -> None:
    told = [code(option.split()[0]) for option, *_ in rows("configuration.md", "option")]
    command = get_command(make_app(0.0))
    assert isinstance(command, TyperGroup)
    assert told == [parameter.opts[0] for parameter in command.commands["up"].params]


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```", "", (DOCS / page).read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        file = (DOCS / path) if path else DOCS / page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
            assert anchor in anchors, target
