"""A batch says which of the pool's LMs its items ask, as a run does."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from tests.integration.dspy.test_runs import put
from tests.support.lm_server import LmServer

from anypod.client import Client

ITEMS = b'{"question": "one"}\n{"question": "two"}\n'


def sent(pool: str, query: str, program: str = "qa", **headers: str) -> tuple[int, list[Any]]:
    """The status, and the documents of the answer."""
    request = urllib.request.Request(
        f"{pool}/v1/pools/default/programs/{program}/map{query}",
        ITEMS,
        {"Content-Type": "application/x-ndjson", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, [json.loads(line) for line in answer if line.strip()]
    except urllib.error.HTTPError as refused:
        return refused.code, [json.load(refused)]


def test_all_items_ask_what_the_batch_says(pool: str, client: Client, lm: LmServer) -> None:
    put(client, "qa", lm={"name": "slow", "temperature": 0.25, "maxTokens": 100})
    status, told = sent(pool, "?lm=lm2&temperature=0&maxTokens=7")
    assert (status, told[-1]["end"]["succeeded"]) == (200, 2)
    assert [asked.model for asked in lm.asked] == ["lm2", "lm2"]
    assert {asked.body["temperature"] for asked in lm.asked} == {0}
    assert {asked.body["max_tokens"] for asked in lm.asked} == {7}
    for temperature in (1.5, 1 / 3, 2, 1e-5):  # as Python writes them
        lm.clear()
        assert sent(pool, f"?temperature={temperature}")[0] == 200
        asked = {(one.model, one.body["temperature"]) for one in lm.asked}
        assert asked == {("slow", temperature)}


def test_it_goes_over_what_the_session_says(pool: str, client: Client, lm: LmServer) -> None:
    put(client, "qa")
    client.session("batching").choose_lm(name="lm3", max_tokens=50)
    sent(pool, "?lm=lm4", **{"X-Session-ID": "batching"})
    sent(pool, "", **{"X-Session-ID": "batching"})
    assert [asked.model for asked in lm.asked] == ["lm4", "lm4", "lm3", "lm3"]
    assert {asked.body["max_tokens"] for asked in lm.asked} == {50}


@pytest.mark.parametrize(
    ("query", "path", "detail"),
    [
        ("?lm=none", "lm", "the pool has no LM 'none'; it has: fast, slow"),
        ("?lm=", "lm", "the pool has no LM ''"),
        ("?lm=fast&temperature=2.1", "temperature", "must be a number from 0 to 2"),
        ("?temperature=nan", "temperature", "must be a number"),
        ("?maxTokens=0", "maxTokens", "must be a whole number above 0"),
        ("?maxTokens=1.5", "maxTokens", "must be a whole number"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_runs(
    pool: str, client: Client, lm: LmServer, query: str, path: str, detail: str
) -> None:
    put(client, "qa")
    status, (problem,) = sent(pool, query)
    assert (status, problem["type"], problem["path"]) == (400, "bad-request", path)
    assert detail in problem["detail"]
    assert lm.asked == []


def test_a_python_programs_batch_asks_no_lm(pool: str, client: Client) -> None:
    client.programs.put("plain", source="def main(question): return 1")
    status, (problem,) = sent(pool, "?lm=fast", "plain")
    assert (status, problem["path"]) == (400, "lm")


def test_under_one_key_another_lm_is_another_request(
    pool: str, client: Client, lm: LmServer
) -> None:
    put(client, "qa")
    key = {"Idempotency-Key": "which-lm"}
    for query in ("?lm=lm2", "?lm=lm2", "", "?lm=lm3", "?lm=lm2&temperature=1"):
        status, told = sent(pool, query, **key)
        assert status == 200
        problems = {one["problem"]["type"] for one in told if "problem" in one}
        assert problems == (set() if query == "?lm=lm2" else {"idempotency-key-reused"})
    assert [asked.model for asked in lm.asked] == ["lm2", "lm2"]
