"""``anypod push``: from a module of a Python file to what a pool runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dspy
import pytest
import yaml
from tests.integration.dspy.conftest import KEYS
from tests.support.lm_server import LmServer, chat
from tests.support.local import ANYPOD, PATIENCE

from anypod.client import Client
from anypod.dspy.push import definition, examples, metric

FILE = '''
"""What a notebook leaves: an agent that was optimised."""
from math import pow

import dspy

print("importing")
dspy.configure(lm=dspy.LM("openai/gpt-4o", api_key="sk-of-the-notebook"))
LIMIT = 1000


def power(base: float, exponent: float) -> float:
    """Base to the exponent, up to a limit."""
    return min(pow(base, exponent), LIMIT)


agent = dspy.ReAct("question -> answer: int", tools=[power], max_iters=3)
agent.extract.predict.demos = [dspy.Example(question="2 to the 2", reasoning="so", answer=4)]


def short(args, pred):
    return 1.0 if len(pred.answer) < len(args["question"]) else 0.0


best = dspy.BestOfN(dspy.Predict("question -> answer"), N=3, reward_fn=short, threshold=1.0)


class Own(dspy.Module):
    def __init__(self):
        self.first = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.first(question=question)


own = Own()
'''


OPTIMISING = """
import os

import dspy

rows = [dspy.Example(question=f"{n} and 1", answer=str(n + 1)) for n in range(3)]
trainset = [row.with_inputs("question") for row in rows]
lm = dspy.LM("hosted_vllm/own", api_base=os.environ["OWN_LM"], api_key="sk-own", cache=False)


def exact(example, pred, trace=None):
    return example.answer == pred.answer


def optimised():
    optimiser = dspy.BootstrapFewShot(metric=exact, max_labeled_demos=0)
    student = dspy.ChainOfThought("question -> answer")
    with dspy.context(lm=lm):
        return optimiser.compile(student, trainset=trainset)


program = optimised()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "calculator.py"
    path.write_text(FILE)
    return path


def anypod(*arguments: str, url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ANYPOD, *arguments],
        env=os.environ | {"ANYPOD_URL": url, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_an_agent_of_a_file_is_served(file: Path, pool: str, lm: LmServer, client: Client) -> None:
    done = anypod("push", f"{file}:agent", "--id", "power", "--lm", "slow", url=pool)
    assert done.returncode == 0, done.stderr
    document = client.programs.get("power")
    assert done.stdout == (
        f"program power, revision {document.revision[:12]}\nrun it: anypod run power question=...\n"
    )
    assert "importing" in done.stderr
    lm.then(
        chat(next_thought="", next_tool_name="power", next_tool_args={"base": 2, "exponent": 99}),
        chat(next_thought="", next_tool_name="finish", next_tool_args={}),
        chat(reasoning="It says so.", answer=1000),
    )
    answer = client.run("power", {"question": "2 to the 99"})
    assert answer.outputs == {"reasoning": "It says so.", "answer": 1000}
    assert {one.model for one in lm.asked} == {"slow"}
    assert "1000" in lm.asked[1].prompt
    assert "2 to the 2" in lm.asked[2].prompt
    again = anypod("push", f"{file}:agent", "--id=power", "--lm=slow", "-ojson", url=pool)
    assert json.loads(again.stdout)["revision"] == document.revision


def test_a_reward_of_a_file_chooses(file: Path, pool: str, lm: LmServer, client: Client) -> None:
    assert anypod("push", f"{file}:best", "--id", "best", url=pool).returncode == 0
    lm.then(chat(answer="much longer than what was asked"), chat(answer="no"), chat(answer="never"))
    assert client.run("best", {"question": "is it?"}).outputs == {"answer": "no"}
    assert len(lm.asked) == 2


def test_what_an_optimiser_found_is_served(
    tmp_path: Path, pool: str, lm: LmServer, client: Client
) -> None:
    (tmp_path / "sums.py").write_text(OPTIMISING)
    lm.script = lambda _: chat(reasoning="I count.", answer="2")
    done = anypod("push", f"{tmp_path}/sums.py:program", url=pool, OWN_LM=lm.url)
    assert done.returncode == 0, done.stderr
    assert {one.key for one in lm.asked} == {"sk-own"}
    assert client.run("sums", {"question": "4 and 1"}).outputs["answer"] == "2"
    assert lm.asked[-1].key == KEYS["fast"]
    shown = [message["content"] for message in lm.asked[-1].body["messages"]]
    assert [one for one in shown if "I count." in one and "2" in one], shown
    assert "1 and 1" in lm.asked[-1].prompt
    assert "0 and 1" not in lm.asked[-1].prompt  # whose answer was wrong


def test_a_part_is_a_program(file: Path, pool: str, lm: LmServer, client: Client) -> None:
    assert anypod("push", f"{file}:own.first", "--id", "first", url=pool).returncode == 0
    assert client.run("first", {"question": "why"}).outputs == {"answer": "42"}


def test_a_notebook_puts_its_object_itself(lm: LmServer, client: Client) -> None:
    program = dspy.Predict("question -> answer")
    client.programs.put("of-a-notebook", **definition(program, lm="slow"))
    assert client.run("of-a-notebook", {"question": "why"}).outputs == {"answer": "42"}
    assert lm.asked[0].model == "slow"


def test_nothing_of_the_notebooks_lm_leaves_it(file: Path, pool: str, client: Client) -> None:
    done = anypod("push", f"{file}:agent", "--id", "power", url=pool)
    assert done.returncode == 0, done.stderr
    document = client.programs.get("power").model_dump_json()
    for hidden in ("sk-of-the-notebook", "gpt-4o"):
        assert hidden not in document


def test_a_dry_run_prints_what_can_be_run(
    file: Path, pool: str, lm: LmServer, client: Client
) -> None:
    done = anypod("push", f"{file}:best", "--id", "dry", "--dry-run", url="http://127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["id"] == "dry"
    (file.parent / "dry.yaml").write_text(done.stdout)
    lm.then(chat(answer="no"))
    ran = anypod("run", str(file.parent / "dry.yaml"), "question=is it?", url=pool)
    assert json.loads(ran.stdout) == {"answer": "no"}, ran.stderr


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (":own", "own: Own is a class of your own; it runs code of its own"),
        (":short", "short: it is no dspy.Module but of the type function"),
        (":nothing", "has no 'nothing'; modules of DSPy in it: agent, best, own"),
        (":agent", "more than one module (agent, best, own): give agent an id"),
        ("", "is not FILE.py:NAME"),
    ],
)
def test_what_cannot_be_pushed_is_said(file: Path, target: str, said: str) -> None:
    done = anypod("push", f"{file}{target}", url="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["push", "a.py:b"], 2, "push needs DSPy, which is not installed here: pip install dspy"),
        (["push", "--help"], 0, ""),
        (["run", "--help"], 0, ""),
    ],
)
def test_without_dspy_it_is_said_how_to_get_it(arguments: list[str], code: int, said: str) -> None:
    hidden = "import sys; sys.modules['dspy'] = None; sys.argv[0] = 'anypod'"
    run = "from anypod.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", f"{hidden}; {run}", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr


LONGEST = 5


def short_and_right(example: dspy.Example, pred: dspy.Prediction, trace: object = None) -> bool:
    return len(pred.answer) <= LONGEST and bool(example.answer == pred.answer)


def test_a_notebooks_examples_and_metric_judge_a_program(client: Client, lm: LmServer) -> None:
    client.programs.put("judged", **definition(dspy.Predict("question -> answer")))
    devset = [
        dspy.Example(question=f"{answer}?", answer=answer).with_inputs("question")
        for answer in ("Paris", "Amsterdam")
    ]
    lm.script = lambda asked: chat(answer="Amsterdam" if "Amsterdam?" in asked.last else "Paris")
    job = client.evaluate("judged", examples(devset), metric(short_and_right))
    assert [item["score"] for item in job.result(120).outputs["items"]] == [0.0, 1.0]
