"""The OpenAPI document is true: what it allows is understood, what it forbids is refused, and every
answer is as it says."""

import asyncio
import json
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error, positive_data_acceptance
from tests.support.rig import Gateway

from anypod.api import ndjson
from anypod_gateway.routes import TABLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What a program's text does is not in any schema, and a program's fault is a 5xx.
NOT_OURS = [positive_data_acceptance, not_a_server_error]
EXAMPLES = 12
SOURCE = "def main(x: int = 0) -> int:\n    return x\n"


@schemathesis.serializer(ndjson.MEDIA_TYPE)
def one_line(_: Any, value: Any) -> bytes:
    return json.dumps(value).encode()


CASES = [
    (route.method, route.path, mode)
    for route in TABLE
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    # Where nothing is sent, nothing can be wrong.
    if mode is GenerationMode.POSITIVE or "{" in route.path or route.parameters
]


def anypod_itself_does_not_fail(_: Any, response: Any, __: Any) -> None:
    assert b"internal-error" not in response.content or response.status_code < 500


def explore(
    url: str, document: Any, method: str, path: str, mode: GenerationMode, examples: int
) -> None:
    schema = schemathesis.openapi.from_dict(document)
    operation = schema[path][method]

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE:
            _aim(case)
        with requests.Session() as session:
            case.call_and_validate(
                base_url=url,
                session=session,
                excluded_checks=NOT_OURS,
                additional_checks=[anypod_itself_does_not_fail],
            )

    check()


def _aim(case: schemathesis.Case) -> None:
    """At what is there; else nearly every answer would be that there is no such pool."""
    there = {"pool": "default", "program": "schema", "program_ref": "schema", "worker": "w1"}
    for name, value in there.items():
        if name in case.path_parameters:
            case.path_parameters[name] = value


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
async def test_an_operation_is_as_its_description(
    gateway: Gateway, method: str, path: str, mode: GenerationMode
) -> None:
    await gateway.ask("PUT", "/programs/schema", json={"source": SOURCE})
    document = (await gateway.ask("GET", "//openapi.json")).document
    await asyncio.to_thread(explore, gateway.url, document, method, path, mode, EXAMPLES)
    assert (await gateway.ask("GET", "//readyz")).status == 200


async def test_the_document_and_its_page_are_served(gateway: Gateway) -> None:
    answer = await gateway.ask("GET", "//openapi.json")
    assert answer.document["openapi"] == "3.1.0"
    answer = await gateway.ask("GET", "//docs")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert b"/v1/pools/{pool}/programs" in answer.body
