"""The OpenAPI document and its page say what the table of routes says."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from aiohttp import web
from jsonschema_rs import validator_for

from anypod.api.problems import CONTENT_TYPE, TABLE, problem
from anypod.api.programs import CreateProgram
from anypod_gateway import docs_page, openapi, routes, routing

DOCUMENT = openapi.document(routes.TABLE)
OPERATIONS = [
    (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]


def schema(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}


def test_every_route_is_registered_and_documented() -> None:
    app = web.Application()
    routing.register(app, routes.TABLE)
    registered = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert registered == {(method, path) for method, path, _ in OPERATIONS}
    names = [operation["operationId"] for *_, operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere() -> None:
    found = set(re.findall(r"'#/components/schemas/([^']+)'", repr(DOCUMENT)))
    assert found
    assert found <= set(DOCUMENT["components"]["schemas"])


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_every_parameter_of_a_path_is_declared(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    declared = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
    assert declared == set(re.findall(r"\{(\w+)\}", path))


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_problems_are_declared_under_their_status(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    for status, response in operation["responses"].items():
        content = response["content"].get(CONTENT_TYPE)
        if content is not None:
            types = content["schema"]["properties"]["type"]["enum"]
            assert {TABLE[one].status for one in types} == {int(status)}


def test_a_problem_document_fits_its_schema() -> None:
    from msgspec import to_builtins

    told = problem("invalid-inputs", "no", errors=[{"path": "a", "message": "b"}], retry_after=1)
    validator_for(schema("Problem")).validate(to_builtins(told))


@pytest.mark.parametrize(
    "value",
    [
        {"source": ""},
        {"source": "", "files": None},
        {"files": {"a/b.py": ""}, "labels": {"a": "b"}, "timeoutSeconds": 1, "id": "x"},
        {},
        {"source": None},
        {"source": "", "files": {"a.py": ""}},
        {"files": {"../a": ""}},
        {"files": {}},
        {"source": "", "labels": {"=": ""}},
        {"source": "", "id": "a/b"},
        {"source": "", "typo": 1},
        {"source": "", "timeoutSeconds": 0},
    ],
)
def test_the_schema_of_a_request_and_its_model_agree(value: dict[str, Any]) -> None:
    try:
        CreateProgram.model_validate(value)
        accepted = True
    except ValueError:
        accepted = False
    assert validator_for(schema("CreateProgram")).is_valid(value) == accepted


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.loads += [values["src"]] if "src" in values else []
        self.links += [values["href"]] if "href" in values else []
        if "id" in values:
            self.ids.add(values["id"])


def test_the_page_shows_every_operation_and_fetches_nothing() -> None:
    page = Page()
    page.feed(docs_page.render(DOCUMENT))
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not page.loads
    assert {operation["operationId"] for *_, operation in OPERATIONS} <= page.ids
    inside = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert inside <= page.ids
    assert set(page.links) - {f"#{one}" for one in inside} == {"/openapi.json"}
