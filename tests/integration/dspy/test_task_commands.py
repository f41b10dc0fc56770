"""``anypod evaluate`` and ``anypod optimize``: examples from files, and what is told of the job."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.dspy.test_runs import put
from tests.support.lm_server import Asked, LmServer, Reply, chat
from tests.support.local import ANYPOD, PATIENCE

from anypod.client import Client

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(pool: str, tmp_path: Path) -> Command:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ANYPOD, *arguments],
            cwd=tmp_path,
            env=os.environ | {"ANYPOD_URL": pool},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return run


def counts(asked: Asked) -> str:
    """A model that counts the words of a text."""
    text = re.findall(r"\[\[ ## text ## \]\]\n(.*)", asked.last)[-1]
    return chat(words=len(text.split()), long=len(text.split()) > 2)


COUNTS = "text,words,long,source\na b,2,no,book\na b c,3,yes,7\n"


@pytest.fixture
def counting(client: Client, lm: LmServer) -> None:
    put(client, "counting", signature="text -> words: int, long: bool")
    lm.script = counts


def test_columns_are_read_as_inputs_and_outputs_are(
    counting: None, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "counts.csv").write_text(COUNTS)
    for field in ("words", "long"):
        done = command("evaluate", "counting", "counts.csv", "--field", field)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["score"] == 1.0


def test_a_cell_that_no_answer_could_equal_is_refused_with_its_place(
    counting: None, command: Command, tmp_path: Path, lm: LmServer
) -> None:
    (tmp_path / "counts.csv").write_text(COUNTS + "d,one,no,\n")
    done = command("evaluate", "counting", "counts.csv", "--field", "words")
    assert done.returncode == 2
    assert "line 4, column 'words': \"one\" is no integer" in done.stderr
    assert not lm.asked


def test_what_a_metric_of_ones_own_expects_is_its_own(
    counting: None, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "ranges.csv").write_text("text,words\na b,1-3\na b c,4-5\n")
    (tmp_path / "within.py").write_text("""
def metric(example, prediction):
    least, most = map(int, example.words.split("-"))
    return least <= prediction.words <= most
""")
    done = command("evaluate", "counting", "ranges.csv", "--metric", "within.py")
    assert json.loads(done.stdout)["score"] == 0.5


def test_lines_of_json_are_examples_too(counting: None, command: Command, tmp_path: Path) -> None:
    lines: list[Any] = [
        {"text": "a b", "words": 2},
        {"inputs": {"text": "a"}, "expected": {"words": 1}},
    ]
    (tmp_path / "counts.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    done = command("evaluate", "counting", "counts.jsonl", "--field", "words")
    assert json.loads(done.stdout)["score"] == 1.0
    (tmp_path / "counts.jsonl").write_text('{"text": "a", "words": 1}\n[1]\n')
    done = command("evaluate", "counting", "counts.jsonl", "--field", "words")
    assert done.returncode == 2
    assert "line 2 is no JSON object" in done.stderr


def test_what_could_not_be_scored_again_is_printed_with_the_reason(
    client: Client, command: Command, tmp_path: Path, lm: LmServer
) -> None:
    put(client, "half")
    (tmp_path / "one.csv").write_text("question,answer\nWhy?,Because.\n")

    def script(_: Asked) -> Reply:  # asked before, by the optimiser, and after
        return Reply(chat(answer="Because."), status=200 if len(lm.asked) < 3 else 401)

    lm.script = script
    done = command(
        "optimize", "half", "one.csv", "--optimizer",
        '{"name": "BootstrapFewShot", "maxLabeledDemos": 0}',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["before"]["score"], found["after"], found["revision"]) == (1.0, None, None)
    assert "it could not be scored again: lm-auth" in found["reason"]
    assert found["state"]["self"]["demos"]
    assert "it could not be scored again" in done.stderr
