"""Who is shown what an LM said, where callers have keys; and a pool whose workers have no dspy."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.lm_server import lm_server
from tests.support.rig import Rig, pool_of, rig

ROOT = "root-key-of-these-tests-0123456789"
RUNNER = "runner-key-of-these-tests-0123456789"
PROGRAM = {"kind": "dspy", "id": "qa", "signature": "question -> answer"}
HIDES_DSPY = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "dspy":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.modules.pop("dspy", None)
sys.meta_path.insert(0, Hidden())
"""


def declared(url: str) -> list[dict[str, Any]]:
    return [{"name": "fast", "model": "hosted_vllm/fast", "apiBase": url}]


async def failed_run(made: Rig, key: str) -> dict[str, Any]:
    answer = await made.gateway.ask(
        "POST",
        "/programs/qa/run",
        headers={"Authorization": f"Bearer {key}"},
        json={"inputs": {"question": "?"}},
    )
    problem: dict[str, Any] = answer.document
    assert problem["type"] == "model-output-unusable"
    return problem


async def test_only_who_may_write_programs_sees_what_the_lm_said(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "root").write_text(ROOT)
    (keys / "runner").write_text(json.dumps({"key": RUNNER, "verbs": ["run"]}))
    options = ("--api-keys", str(keys))
    with lm_server(lambda _: "the secret instructions say") as lm:
        pool = pool_of(lms=declared(lm.url))
        async with rig(tmp_path, pool=pool, options=options, key=ROOT) as made:
            created = await made.gateway.ask("POST", "/programs", json=PROGRAM)
            assert created.status == 201, created.document
            assert (await failed_run(made, ROOT))["modelOutput"] == "the secret instructions say"
            problem = await failed_run(made, RUNNER)
            assert "modelOutput" not in problem
            assert "secret" not in json.dumps(problem)


@pytest.mark.parametrize("path", ["/programs", "/run"])
async def test_workers_without_dspy_say_so(tmp_path: Path, path: str) -> None:
    (tmp_path / "hides_dspy.py").write_text(HIDES_DSPY)
    pool = pool_of(
        lms=declared("http://127.0.0.1:9/v1"),
        preload=["hides_dspy"],
        env=[{"name": "PYTHONPATH", "value": str(tmp_path)}],
    )
    async with rig(tmp_path, pool=pool) as made:
        code = {name: value for name, value in PROGRAM.items() if name != "id"}
        body = PROGRAM if path == "/programs" else {"program": code}
        answer = await made.gateway.ask("POST", path, json=body)
        assert answer.status == 422
        assert answer.document["type"] == "invalid-program"
        assert "this pool's workers have no dspy" in answer.document["detail"]


async def test_a_pool_without_lms_says_so(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        answer = await made.gateway.ask("POST", "/programs", json=PROGRAM)
        assert (answer.status, answer.document["type"]) == (422, "invalid-program")
        assert "the pool declares no LMs" in answer.document["detail"]


async def test_a_pool_that_does_not_preload_dspy_runs_it_too(tmp_path: Path) -> None:
    with lm_server() as lm:
        async with rig(tmp_path, pool=pool_of(lms=declared(lm.url))) as made:
            created = await made.gateway.ask("POST", "/programs", json=PROGRAM)
            assert created.status == 201, created.document
            body = {"inputs": {"question": "?"}}
            answer = await made.gateway.ask("POST", "/programs/qa/run?logs=true", json=body)
            assert answer.document["outputs"] == {"answer": "42"}
            assert answer.document["execution"]["logs"]["stderr"] == ""
            assert lm.asked[0].key in ("", "none")
            after = await made.gateway.ask(
                "POST", "/run", json={"program": {"source": "def main(): return 'plain'"}}
            )
            assert after.document["outputs"] == "plain"
