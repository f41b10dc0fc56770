"""What requests accept, and the rules of names."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from anypod.api import ids
from anypod.api.documents import RequestModel
from anypod.api.dspy_programs import CreateDspyProgram
from anypod.api.dspy_tasks import EvaluateProgram, OptimizeProgram
from anypod.api.problems import AnyPodError
from anypod.api.programs import CreateProgram
from anypod_gateway import requests


def program(**fields: Any) -> CreateProgram:
    return CreateProgram.model_validate({"source": "def main(): ...\n", **fields})


@given(st.from_regex(ids.PROGRAM_REF, fullmatch=True))
def test_a_program_reference_splits_into_its_parts(text: str) -> None:
    program_id, revision = ids.split_program_ref(text)
    assert "@".join(filter(None, (program_id, revision))) == text


@given(st.text(max_size=120))
def test_no_name_that_is_accepted_can_leave_its_segment(text: str) -> None:
    if ids.is_program_id(text) or ids.is_session_key(text):
        assert re.fullmatch(r"[!-.0-~]+", text)


@pytest.mark.parametrize("text", ["", "a/b", "a\n", "-a", ".", "..", "a" * 101, "ä", "a b", "a@"])
def test_these_are_not_program_ids(text: str) -> None:
    assert not ids.is_program_id(text)


@pytest.mark.parametrize("text", ["a@", "a@1234567", "a@xyzxyzxyz", "a@" + "0" * 65, "a@b@c", "@a"])
def test_a_pinned_revision_is_at_least_eight_digits(text: str) -> None:
    with pytest.raises(ids.InvalidName):
        ids.split_program_ref(text)


def test_made_up_names_obey_the_rules_and_differ() -> None:
    made = {ids.new_execution_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"x-[A-Za-z0-9_-]{20}", one) for one in made)
    assert ids.is_program_id(ids.new_program_id())


def test_source_is_the_file_main() -> None:
    assert program().all_files() == {"main.py": "def main(): ...\n"}
    assert program().full_entrypoint() == "main:main"
    assert program(entrypoint="f").full_entrypoint() == "main:f"
    assert program(entrypoint="pkg.mod:f").full_entrypoint() == "pkg.mod:f"


def test_equal_content_is_equal_code_however_it_is_said() -> None:
    files = CreateProgram.model_validate(
        {"files": {"main.py": "def main(): ...\n"}, "entrypoint": "main:main"}
    )
    assert program().code() == files.code()


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"source": None}, ()),
        ({"files": {"a.py": ""}}, ()),
        ({"source": None, "files": {}}, ("files",)),
        ({"source": None, "files": {"../a.py": ""}}, ("files",)),
        ({"source": None, "files": {"/a.py": ""}}, ("files",)),
        ({"source": None, "files": {"a//b.py": ""}}, ("files",)),
        ({"source": None, "files": {"a/./b.py": ""}}, ("files",)),
        ({"source": None, "files": {"a": "", "a/b.py": ""}}, ()),
        ({"source": "\ud800"}, ("source",)),
        ({"source": 1}, ("source",)),
        ({"kind": "cobol"}, ("kind",)),
        ({"entrypoint": "a:b:c"}, ("entrypoint",)),
        ({"entrypoint": "os.system"}, ("entrypoint",)),
        ({"timeoutSeconds": "5"}, ("timeoutSeconds",)),
        ({"timeoutSeconds": True}, ("timeoutSeconds",)),
        ({"timeoutSeconds": 10**400}, ("timeoutSeconds",)),
        ({"timeoutSeconds": 0}, ("timeoutSeconds",)),
        ({"timeout_seconds": 5}, ("timeout_seconds",)),
        ({"labels": {"a": 10**30}}, ("labels", "a")),
        ({"labels": {"a=b": "c"}}, ("labels",)),
        ({"labels": {"a": "\udfff"}}, ("labels", "a")),
        ({"id": "a/b"}, ("id",)),
        ({"typo": 1}, ("typo",)),
    ],
)
def test_what_does_not_fit_is_refused_where_it_is(
    fields: dict[str, Any], where: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationError) as caught:
        program(**fields)
    assert caught.value.errors()[0]["loc"][: len(where)] == where


@pytest.mark.parametrize(
    ("model", "field", "value", "wanted"),
    [
        (CreateDspyProgram, "signature", 5, "a string such as 'question -> answer', or an object"),
        (CreateDspyProgram, "module", [], "a name, or an object"),
        (CreateDspyProgram, "lm", 5, "a name, or an object"),
        (CreateDspyProgram, "wrap", 5, "an object"),
        (CreateDspyProgram, "state", "x", "an object"),
        (EvaluateProgram, "metric", 5, "a name, or an object"),
        (OptimizeProgram, "optimizer", True, "a name, or an object"),
    ],
)
def test_what_is_allowed_is_said_as_json_has_it(
    model: type[RequestModel], field: str, value: Any, wanted: str
) -> None:
    with pytest.raises(AnyPodError) as caught:
        requests.validate(model, {field: value})
    errors = {one["path"]: one["message"] for one in caught.value.problem.errors or ()}
    assert errors[field] == f"Input should be {wanted}"
