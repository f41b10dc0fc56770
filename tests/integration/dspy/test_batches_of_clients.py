"""Batches of programs of kind dspy, as clients and the command line ask for them."""

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from tests.integration.dspy.conftest import KEYS
from tests.support.lm_server import LmServer
from tests.support.local import ANYPOD, PATIENCE

from anypod.client import AsyncClient, Client, Refused

QA = {"kind": "dspy", "signature": "question -> answer"}
QUESTIONS = [{"question": f"What is {number}?"} for number in range(4)]


def test_a_batch_says_which_lm_its_items_ask(client: Client, lm: LmServer) -> None:
    client.programs.put("many", **QA)  # type: ignore[arg-type]
    chosen = {"name": "slow", "temperature": 0.25, "maxTokens": 9}
    items = list(client.map("many", QUESTIONS, lm=chosen))
    assert [item.outputs for item in items] == [{"answer": "42"}] * 4
    assert {
        (asked.key, asked.body["temperature"], asked.body["max_tokens"]) for asked in lm.asked
    } == {(KEYS["slow"], 0.25, 9)}
    assert {
        item.execution.usage.lm for item in items if item.execution and item.execution.usage
    } == {"slow"}


async def test_the_client_that_awaits_says_it_too(pool: str, lm: LmServer) -> None:
    async with AsyncClient(pool, timeout=60) as waiting:
        await waiting.programs.put("many", **QA)  # type: ignore[arg-type]
        items = [item async for item in waiting.map("many", QUESTIONS, lm="lm2")]
    assert len(items) == 4
    assert Counter(asked.key for asked in lm.asked) == {KEYS["lm2"]: 4}


def test_an_lm_that_the_pool_has_not_refuses_the_batch(client: Client, lm: LmServer) -> None:
    client.programs.put("many", **QA)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="other"):
        list(client.map("many", QUESTIONS, lm="other"))
    assert not lm.asked


def test_the_command_line_says_it(pool: str, lm: LmServer, tmp_path: Path) -> None:
    (tmp_path / "many.json").write_text('{"kind": "dspy", "signature": "question -> answer"}')
    done = subprocess.run(
        [ANYPOD, "map", "many.json", "-", "--lm", "lm3"],
        cwd=tmp_path,
        env=os.environ | {"ANYPOD_URL": pool},
        input='{"question": "1?"}\n{"question": "2?"}\n',
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.stdout, done.returncode) == ('{"answer": "42"}\n' * 2, 0), done.stderr
    assert Counter(asked.key for asked in lm.asked) == {KEYS["lm3"]: 2}
