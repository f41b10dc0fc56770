"""Requests that an OpenAPI document allows, or forbids, and whether the answers are as it says.

Importing schemathesis takes seconds: import this where it is used, not where tests are collected.
"""

import json
from typing import Any, Literal

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error, positive_data_acceptance

from anypod.api import ndjson

# What a program's text does is not in any schema, and a program's fault is a 5xx.
NOT_OURS = [positive_data_acceptance, not_a_server_error]

Mode = Literal["positive", "negative"]


@schemathesis.serializer(ndjson.MEDIA_TYPE)
def one_line(_: Any, value: Any) -> bytes:
    return json.dumps(value).encode()


def anypod_itself_does_not_fail(_: Any, response: Any, __: Any) -> None:
    assert b"internal-error" not in response.content or response.status_code < 500


def explore(url: str, document: Any, method: str, path: str, mode: Mode, examples: int) -> None:
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
    @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
    def check(case: "schemathesis.Case[Any]") -> None:
        if mode == "positive":
            _aim(case)
        with requests.Session() as session:
            case.call_and_validate(
                base_url=url,
                session=session,
                excluded_checks=NOT_OURS,
                additional_checks=[anypod_itself_does_not_fail],
            )

    check()


def _aim(case: "schemathesis.Case[Any]") -> None:
    """At what is there; else nearly every answer would be that there is no such pool."""
    there = {"pool": "default", "program": "schema", "program_ref": "schema", "worker": "w1"}
    for name, value in there.items():
        if name in case.path_parameters:
            case.path_parameters[name] = value
