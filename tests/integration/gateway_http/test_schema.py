"""The OpenAPI document is true: what it allows is understood, what it forbids is refused, and every
answer is as it says."""

import asyncio
from importlib import import_module

import pytest
from tests.support.rig import Gateway

from anypod_gateway.routes import TABLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = 12
SOURCE = "def main(x: int = 0) -> int:\n    return x\n"

CASES = [
    (route.method, route.path, mode)
    for route in TABLE
    for mode in ("positive", "negative")
    # Where nothing is sent, nothing can be wrong.
    if mode == "positive" or "{" in route.path or route.parameters
]


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
async def test_an_operation_is_as_its_description(
    gateway: Gateway, method: str, path: str, mode: str
) -> None:
    await gateway.ask("PUT", "/programs/schema", json={"source": SOURCE})
    document = (await gateway.ask("GET", "//openapi.json")).document
    # Only here: it takes seconds, and every process of a run collects this file.
    explored = await asyncio.to_thread(import_module, "tests.support.explored")
    await asyncio.to_thread(explored.explore, gateway.url, document, method, path, mode, EXAMPLES)
    assert (await gateway.ask("GET", "//readyz")).status == 200


async def test_the_document_and_its_page_are_served(gateway: Gateway) -> None:
    answer = await gateway.ask("GET", "//openapi.json")
    assert answer.document["openapi"] == "3.1.0"
    answer = await gateway.ask("GET", "//docs")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert b"/v1/pools/{pool}/programs" in answer.body
