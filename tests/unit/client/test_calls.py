"""Calls are what the API takes; what it would refuse for its name never leaves."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, get_type_hints
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from anypod.api.dspy_programs import CreateDspyProgram
from anypod.api.executions import parse_run, parse_run_inline
from anypod.api.ids import InvalidName
from anypod.api.programs import CreateProgram, ProgramCode, PutProgram
from anypod.client.calls import Api, Call, RunArguments, encode
from anypod.client.job_calls import JobApi, JobArguments
from anypod.client.settings import Settings
from anypod.dspy.spec import LmChoice

API = Api("default")


class Colour(Enum):
    RED = "red"


class Model(BaseModel):
    when: datetime


@dataclass
class Point:
    x: int
    colour: Colour


def test_a_run_that_says_no_timeout_is_waited_for_as_long_as_a_program_may_say() -> None:
    run, asked = API.run("slow", {}, {}), API.run("slow", {}, {"timeout": 200})
    assert Settings().seconds_for(run) > 86_400
    assert Settings().seconds_for(asked) == Settings(timeout=5).seconds_for(asked) == 210
    assert Settings(timeout=5).seconds_for(run) == 5


def test_a_call_that_runs_nothing_is_waited_for_90_seconds() -> None:
    for call in (API.get_program("slow"), API.map("slow", {}, ordered=True, concurrency=None)):
        assert Settings().seconds_for(call) == 90
        assert Settings(timeout=5).seconds_for(call) == 5


def test_a_created_program_is_what_the_gateway_takes() -> None:
    call = API.create_program(
        "greet",
        {
            "files": {"a/b.py": "x = 1"},
            "entrypoint": "a.b:f",
            "timeout_seconds": 3,
            "idempotent": True,
            "labels": {"team": "a"},
        },
    )
    assert call.body is not None
    parsed = CreateProgram.model_validate_json(call.body)
    assert (parsed.id, parsed.files, parsed.idempotent) == ("greet", {"a/b.py": "x = 1"}, True)
    assert parsed.labels == {"team": "a"}
    assert call.path == "/v1/pools/default/programs"


def test_a_put_program_names_the_revision_that_must_be_latest() -> None:
    call = API.put_program("greet", {"source": "x = 1"}, "ab" * 32)
    assert call.headers["If-Match"] == f'"{"ab" * 32}"'
    assert call.body is not None
    assert PutProgram.model_validate_json(call.body).source == "x = 1"
    assert not call.repeatable


@given(
    st.dictionaries(
        st.text(max_size=5), st.recursive(st.none() | st.integers() | st.text(), st.lists)
    )
)
def test_inputs_arrive_as_they_were_given(inputs: dict[str, object]) -> None:
    call = API.run("greet@0123abcd", inputs, {"timeout": 3})
    assert call.body is not None
    received, timeout, lm = parse_run(call.body)
    assert json.loads(received) == inputs
    assert (timeout, lm) == (3, None)
    assert call.path == "/v1/pools/default/programs/greet@0123abcd/run"


def test_an_inline_program_goes_with_its_inputs() -> None:
    call = API.run_source(
        "def main(): ...", "main", {"a": 1}, {"logs": True, "session": "s", "idempotency_key": ""}
    )
    assert call.body is not None
    program, (inputs, _, _) = parse_run_inline(call.body)
    assert ProgramCode.model_validate(program).source == "def main(): ..."
    assert json.loads(inputs) == {"a": 1}
    assert call.query == (("logs", "true"),)
    assert call.headers == {"X-Session-ID": "s"}


@pytest.mark.parametrize(
    ("lm", "choice"),
    [
        ("fast", LmChoice("fast")),
        ({"temperature": 0.5, "maxTokens": 9}, LmChoice(None, 0.5, 9)),
    ],
)
def test_a_run_says_which_lm_it_wants(lm: Any, choice: LmChoice) -> None:
    call = API.run("qa", {}, {"lm": lm})
    assert call.body is not None
    assert parse_run(call.body)[2] == choice


@pytest.mark.parametrize(
    ("lm", "query"),
    [
        ("fast", (("lm", "fast"),)),
        ({"temperature": 0.5, "maxTokens": 9}, (("temperature", "0.5"), ("maxTokens", "9"))),
        ({"name": "fast", "temperature": 0}, (("lm", "fast"), ("temperature", "0"))),
        (None, ()),
    ],
)
def test_a_batch_says_which_lm_its_items_want(lm: Any, query: Any) -> None:
    assert API.map("qa", {"lm": lm}, ordered=True, concurrency=None).query == query


def test_what_no_lm_can_be_told_is_an_error_and_not_lost() -> None:
    with pytest.raises(TypeError, match="top_p"):
        API.map("qa", {"lm": {"top_p": 1}}, ordered=True, concurrency=None)


ARGUMENTS: dict[str, Any] = {
    "session": "s",
    "timeout": 7,
    "logs": True,
    "idempotent": True,
    "lm": "fast",
    "idempotency_key": "k2",
    "priority": 3,
    "not_before": datetime(2030, 1, 1, tzinfo=UTC),
    "max_attempts": 2,
    "labels": {"a": "b"},
    "webhook": "https://example.com/ended",
}
CALLS: dict[str, tuple[type, Callable[[Any], Call[Any]]]] = {
    "run": (RunArguments, lambda given: API.run("p", {}, given)),
    "run_source": (RunArguments, lambda given: API.run_source("", None, {}, given)),
    "stream": (RunArguments, lambda given: API.stream("p", {}, given)),
    "stream_source": (RunArguments, lambda given: API.stream_source("", None, {}, given)),
    "map": (RunArguments, lambda given: API.map("p", given, ordered=True, concurrency=None)),
    "submit": (JobArguments, lambda given: JobApi(API).submit("p", {}, given)),
    "submit_source": (
        JobArguments,
        lambda given: JobApi(API).submit_source("", None, {}, given),
    ),
}


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("name", CALLS)
def test_every_argument_of_every_call_is_sent_or_refused(name: str, argument: str) -> None:
    takes, call = CALLS[name]
    plain, given = {"idempotency_key": "k"}, {"idempotency_key": "k", argument: ARGUMENTS[argument]}
    if argument in get_type_hints(takes):
        assert replace(call(given), read=bytes) != replace(call(plain), read=bytes)
    else:
        with pytest.raises(TypeError):
            call(given)


def test_the_arguments_above_are_all_that_there_are() -> None:
    assert ARGUMENTS.keys() == get_type_hints(RunArguments).keys() | get_type_hints(JobArguments)


def test_jobs_are_not_looked_for_by_what_they_have_not() -> None:
    with pytest.raises(TypeError, match="status"):
        JobApi(API).list({"status": "queued"}, None)  # type: ignore[typeddict-unknown-key]


def test_a_program_of_kind_dspy_goes_as_it_was_given() -> None:
    call = API.create_program(
        "qa", {"kind": "dspy", "signature": "q -> a", "history_turns": 3, "module": "Predict"}
    )
    assert call.body is not None
    given = CreateDspyProgram.model_validate_json(call.body)
    assert (given.module.name, given.history_turns, given.id) == ("Predict", 3, "qa")
    assert [field.name for field in given.signature.inputs] == ["q"]


def test_each_run_has_a_key_of_its_own_unless_one_is_given() -> None:
    keys = {API.run("greet", {}, {}).headers["Idempotency-Key"] for _ in range(2)}
    assert len(keys) == 2
    given = API.run("greet", {}, {"idempotency_key": 'my "key"'})
    assert given.headers["Idempotency-Key"] == '"my \\"key\\""'
    assert given.keyed
    without = API.run("greet", {}, {"idempotency_key": ""})
    assert "Idempotency-Key" not in without.headers
    assert not without.keyed


def test_python_values_have_a_json_form() -> None:
    value = {
        "point": Point(1, Colour.RED),
        "model": Model(when=datetime(2024, 1, 2, tzinfo=UTC)),
        "uuid": UUID(int=1),
        "bytes": b"\x00",
        "array": np.array([1, 2]),
        "big": 2**80,
    }
    assert json.loads(encode(value)) == {
        "point": {"x": 1, "colour": "red"},
        "model": {"when": "2024-01-02T00:00:00Z"},
        "uuid": "00000000-0000-0000-0000-000000000001",
        "bytes": "AA==",
        "array": [1, 2],
        "big": 2**80,
    }


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), [Point(1, Colour.RED), float("nan")]]
)
def test_what_is_not_json_is_refused_before_it_is_sent(value: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode(value)


def test_an_object_without_json_form_is_named() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        encode({"a": object()})


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a@b", "a b", "x" * 101, "ä"])
def test_a_program_with_a_name_that_breaks_the_rule_is_not_sent(name: str) -> None:
    for call in (
        lambda: API.delete_program(name, None),
        lambda: API.get_program(name),
        lambda: API.create_program(name, {"source": ""}),
        lambda: API.run(name, {}, {}),
    ):
        with pytest.raises(InvalidName):
            call()


@pytest.mark.parametrize("key", ["", "a/b", "a b", "x" * 129, "a\nb"])
def test_a_session_with_a_key_that_breaks_the_rule_is_not_sent(key: str) -> None:
    with pytest.raises(InvalidName):
        API.end_session(key)
    with pytest.raises(InvalidName):
        API.run("greet", {}, {"session": key})


def test_a_session_of_dots_does_not_climb_out_of_its_folder() -> None:
    assert API.end_session("..").path == "/v1/pools/default/sessions/%2E%2E"


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_workers_and_pools_without_a_name_are_not_asked_for(name: str) -> None:
    with pytest.raises(InvalidName):
        API.get_worker(name)
    with pytest.raises(InvalidName):
        API.get_pool(name)


def test_an_unknown_argument_is_an_error_and_not_lost() -> None:
    with pytest.raises(TypeError, match="timout"):
        API.run("greet", {}, {"timout": 3})  # type: ignore[typeddict-unknown-key]


def test_queries_are_encoded() -> None:
    call = API.list_programs({"a": "b&c=d e"}, "x/y")
    target = Settings().target(call)
    assert target == "/v1/pools/default/programs?label=a%3Db%26c%3Dd%20e&limit=1000&after=x%2Fy"


@pytest.mark.parametrize(
    "url", ["localhost:8700", "ftp://x", "http://", "http://u:p@h/", "http://h/?a=1"]
)
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:8700|only scheme"):
        Settings(url)
