"""A plain prompt becomes the request that DSPy makes of it, whoever is asked."""

from typing import Any

import pytest
from dspy._vendor.lm15.compat import OPENAI_CHAT_PRESETS
from dspy.clients import execution
from dspy.clients.execution import PreparedCall

from anypod_worker.kinds.dspy import requests

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "And?"}
ASSISTANT = {"role": "assistant", "content": "Yes."}
CLIENT = {"api_key": "k", "api_base": "http://a/v1", "timeout": 60.0, "n": 1, "rollout_id": 3}
NONE = {"temperature": None, "max_tokens": None, "prompt_cache": None}

PLAIN: list[dict[str, Any]] = [
    {"messages": [USER]},
    {"messages": [SYSTEM, USER], **NONE, **CLIENT},
    {"messages": [SYSTEM, USER, ASSISTANT, USER], "temperature": 0.5, "max_tokens": 9},
    {"messages": [USER, ASSISTANT], "temperature": 0},
    {"messages": [USER], "temperature": 1},
    {"messages": [USER], "temperature": 1.0},
]
PART = {"type": "text", "text": "And?"}
OTHER: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": [PART]}]},
    {"messages": [USER], "response_format": {"type": "json_object"}},
    {"messages": [USER], "tools": []},
    {"messages": [USER, SYSTEM]},
    {"messages": [SYSTEM]},
    {"messages": [{**USER, "name": "x"}]},
    {"messages": [{**USER, "content": ""}]},
    {"messages": [{"role": "developer", "content": "?"}, USER]},
    {"messages": [USER], "temperature": "hot"},
    {"messages": [USER], "stop": ["x"]},
    {"messages": []},
    {"messages": None},
]


def call(said: dict[str, Any]) -> dict[str, Any]:
    return {"model": "hosted_vllm/any", **said}


@pytest.mark.parametrize("compat", [None, *OPENAI_CHAT_PRESETS])
@pytest.mark.parametrize("said", PLAIN)
def test_it_is_the_same(said: dict[str, Any], compat: str | None) -> None:
    prepared = PreparedCall(None, said["messages"], {}, call(said), None, False, 1, True)
    theirs = execution._canonical(prepared, compat=compat)
    for _ in range(2):
        ours = requests.plain(call(said))
        assert ours == theirs
        assert repr(ours) == repr(theirs)  # 1 is no 1.0


@pytest.mark.parametrize("said", OTHER)
def test_all_else_is_left_to_dspy(said: dict[str, Any]) -> None:
    assert requests.plain(call(said)) is None
