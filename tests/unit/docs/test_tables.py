"""The tables of the documentation say what the code does."""

import re
from pathlib import Path

import pytest
from tests.support.operated import RULES
from typer.core import TyperGroup
from typer.main import get_command

from anypod.api.problems import TABLE
from anypod.cli import reference
from anypod.cli.app import make_app
from anypod_gateway import settings as gateway_settings
from anypod_gateway.jobs.work import NOT_AGAIN
from anypod_gateway.routes import TABLE as ROUTES
from anypod_operator import diagnosis
from anypod_operator import settings as operator_settings

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
OPERATOR = ROOT / "operator" / "anypod_operator"


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


def test_every_problem_type_is_in_the_readme_with_its_status() -> None:
    text = (ROOT / "README.md").read_text()
    table = re.findall(r"^\| ([0-9, ]+) \| (.*) \|$", text, re.MULTILINE)
    told = {
        type_: {int(status) for status in statuses.split(",")}
        for statuses, types in table
        for type_ in re.findall(r"`([a-z]+(?:-[a-z]+)*)`", types)
        if type_ in TABLE
    }
    assert {
        type_: row.status in told.get(type_, ()) for type_, row in TABLE.items()
    } == dict.fromkeys(TABLE, True)


def test_every_end_without_another_attempt_is_told_of_jobs() -> None:
    text = (DOCS / "jobs.md").read_text()
    (told,) = re.findall(r"There is none after[^.]*\.", text)
    assert set(re.findall(r"`([a-z-]+)`", told)) == NOT_AGAIN


def test_every_route_is_in_the_table_of_routes() -> None:
    told = [code(route) for route, _ in rows("http-api.md", "method and path")]
    assert sorted(told) == sorted(f"{route.method} {route.path}" for route in ROUTES)


def test_every_option_of_the_operator_is_in_its_table() -> None:
    told = {code(option).split()[0] for option, *_ in rows("operator.md", "operator option")}
    actions = operator_settings._parser()._actions
    assert told == {action.option_strings[-1] for action in actions} - {"--help"}


def test_every_permission_of_the_operator_is_in_its_table() -> None:
    told = [
        ([code(group)], [code(one) for one in resources.split(", ")], verbs.split(", "))
        for group, resources, verbs in rows("operator.md", "API group")
    ]
    assert told == [(rule["apiGroups"], rule["resources"], rule["verbs"]) for rule in RULES]


def test_every_reason_of_degraded_is_in_its_table() -> None:
    told = {
        code(reason)
        for cell, _ in rows("operator.md", "reason of `Degraded`")
        for reason in cell.split(", ")
    }
    sources = "".join(path.read_text() for path in OPERATOR.glob("*.py"))
    made = set(re.findall(r'Trouble\(\s*"([A-Za-z]+)"', sources)) | set(diagnosis._CURES)
    assert told == made


def test_every_other_reason_is_in_its_table() -> None:
    told = {
        (code(reason), code(of.split(", ")[0]))
        for cell, of, _ in rows("operator.md", "reason of the others")
        for reason in cell.split(", ")
    }
    source = (OPERATOR / "status.py").read_text()
    made = {(reason, of) for of, reason in re.findall(r'_condition\("(\w+)", \w+, "(\w+)"', source)}
    assert told == made | {("SomeServe", "Ready"), ("NoneServes", "Ready")}


def test_every_event_is_in_its_table() -> None:
    told = {code(each) for cell, _ in rows("operator.md", "event") for each in cell.split(", ")}
    sources = "".join(path.read_text() for path in OPERATOR.glob("*.py"))
    made = re.findall(r'(?:News\(|owner, )"\w+", "(\w+)"', sources)
    assert told == {"a reason of `Degraded", *made}


def test_every_option_of_the_gateway_is_in_its_table() -> None:
    told = {code(option).split()[0] for option, *_ in rows("configuration.md", "gateway option")}
    actions = gateway_settings._parser()._actions
    assert told == {action.option_strings[-1] for action in actions} - {"--help"}


def test_every_option_of_anypod_up_is_in_its_table() -> None:
    told = [code(option.split()[0]) for option, *_ in rows("configuration.md", "option")]
    command = get_command(make_app(0.0))
    assert isinstance(command, TyperGroup)
    assert told == [parameter.opts[0] for parameter in command.commands["up"].params]


def test_the_page_of_the_command_line_is_not_stale() -> None:
    assert (ROOT / reference.PATH).read_text() == reference.page(), "run: make reference"


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


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_tests_that_a_page_names_are_there(page: str) -> None:
    for test, file in re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", (DOCS / page).read_text()):
        assert f"def {test}(" in (DOCS / file).read_text(), test
