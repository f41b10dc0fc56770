"""The examples that ask a language model, and what README and docs show of them, as written."""

import csv
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from examples.speakers import DIRECTION, SPEECH
from tests.support.anypod_up import anypod_up
from tests.support.lm_server import Asked, LmServer, chat, lm_server
from tests.support.pages import ROOT, USUAL_URL, blocks, matches, steps

from anypod.client import Client

EXAMPLES = ROOT / "examples"
KEY = "sk-of-the-examples-0123456789"
ORDER = {
    "customer": "Ada",
    "lines": [
        {"product": "notebook", "quantity": 3, "colour": "blue"},
        {"product": "pen", "quantity": 1, "colour": None},
    ],
    "urgency": "urgent",
}


def script(asked: Asked) -> str:
    """What a good model would say to the examples."""
    last = asked.last
    if "`order`" in asked.prompt:
        return chat(order=ORDER)
    if "Say which character" in asked.prompt:
        return chat(speaker=_speaker(asked))
    if "`speaker`" in asked.prompt:
        return chat(speaker=who_speaks(asked))
    if "`capital`" in asked.prompt:
        assert "Rome" in asked.prompt
        return chat(reasoning="France's is Paris.", capital="Paris")
    if "`quote`" in asked.prompt:
        quote = "Madam, how like you this play?"
        return chat(reasoning="Hamlet asks her.", answer="Hamlet", quote=quote)
    if "[[ ## next_tool_name" in last:
        return _step(last)
    if "trajectory" in last:
        found = re.findall(r"\d+ km|\d+\.\d", last)
        return chat(reasoning="From the tools.", reply=f"It is {' and '.join(found[-2:])} hours.")
    return chat(answer="Paris")


def _speaker(asked: Asked) -> str:
    """It knows the play, and by which names its text calls people only when that is shown to it."""
    said = re.findall(r"\[\[ ## speech ## \]\]\n(.*)", asked.last)[-1]
    before = (EXAMPLES / "data/hamlet.txt").read_text().partition(f"{said}\n")[0]
    name = re.findall(r"\n\n([A-Z][a-z]+)\.\n", before)[-1]
    shown = [one for one in asked.body["messages"] if one["role"] == "assistant"]
    return name if shown else {"Ham": "Hamlet", "Hor": "Horatio"}.get(name, name)


NAMES = {
    "Ham": "Hamlet",
    "Hor": "Horatio",
    "Pol": "Polonius",
    "King": "King Claudius",
    "Queen": "Gertrude",
    "Laer": "Laertes",
    "Oph": "Ophelia",
    "Ros": "Rosencrantz",
    "Guil": "Guildenstern",
}


def who_speaks(asked: Asked) -> str:
    """It knows the play by heart, and names speakers in full unless it was shown how they are
    written."""
    given = asked.last.partition("[[ ## speech ## ]]\n")[2].partition("\n\n")[0]
    speaker = speeches()[given]
    shown = any(f"[[ ## speaker ## ]]\n{speaker}\n" in text for text in asked.said)
    return speaker if shown else NAMES[speaker]


@functools.cache
def speeches() -> dict[str, str]:
    """Of Hamlet, on one line each: who says them."""
    text = (EXAMPLES / "data/hamlet.txt").read_text()
    return {
        " ".join(DIRECTION.sub("", match["speech"]).split()): match["speaker"]
        for match in SPEECH.finditer(text)
    }


def _step(last: str) -> str:
    if "observation_0" not in last:
        arguments = {"origin": "Berlin", "destination": "Lisbon"}
        return chat(next_thought="", next_tool_name="distance", next_tool_args=arguments)
    if "observation_1" not in last:
        km = re.findall(r"(\d+) km", last)[-1]
        arguments_: dict[str, Any] = {"km": int(km), "by": "train"}
        return chat(next_thought="", next_tool_name="travel_hours", next_tool_args=arguments_)
    return chat(next_thought="", next_tool_name="finish", next_tool_args={})


@pytest.fixture(scope="module")
def lm() -> Iterator[LmServer]:
    with lm_server(script) as server:
        yield server


@pytest.fixture(scope="module")
def url(lm: LmServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the pool of the examples, whose LM is the scripted one."""
    folder = tmp_path_factory.mktemp("lm-examples")
    manifest = yaml.safe_load((EXAMPLES / "lm_pool.yaml").read_text())
    manifest["spec"]["lms"][0]["apiBase"] = lm.url
    (folder / "pool.yaml").write_text(yaml.safe_dump(manifest))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_API_KEY", KEY)
        with anypod_up(folder, "-f", str(folder / "pool.yaml"), workers=2) as (found, _):
            yield found


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, timeout=60) as client:
        yield client


def put(client: Client, name: str) -> str:
    client.programs.put(name, **yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text()))
    return name


def test_a_question_is_answered_from_a_text(client: Client, lm: LmServer) -> None:
    text = (EXAMPLES / "data/hamlet.txt").read_text()[60_000:64_000]
    inputs = {"text": text, "question": "Who asks the queen how she likes the play?"}
    answer = client.run(put(client, "text_qa"), inputs)
    assert answer.outputs["answer"] == "Hamlet"
    assert set(answer.outputs) == {"reasoning", "answer", "quote"}
    assert lm.asked[-1].key == KEY
    assert text.split("\n")[20] in lm.asked[-1].prompt


def test_an_agent_uses_its_tools_and_remembers(client: Client, lm: LmServer) -> None:
    session = client.session("trip")
    put(client, "travel_agent")
    lm.clear()
    first = session.run("travel_agent", {"request": "How far is Lisbon from Berlin, by train?"})
    assert first.outputs["reply"] == "It is 2312 km and 17.8 hours."
    assert len(lm.asked) == 4
    session.run("travel_agent", {"request": "And once more?"})
    assert "How far is Lisbon" in lm.asked[4].prompt
    assert len(session.get().state["history"]) == 2


def test_an_order_is_found_as_an_object(client: Client) -> None:
    message = "Ada here. Three blue notebooks and a pen, quickly please!"
    answer = client.run(put(client, "order_extraction"), {"message": message})
    assert answer.outputs == {"order": ORDER}
    schema = client.programs.get("order_extraction").outputs_schema
    assert "Line" in json.dumps(schema)


def examples_of(name: str) -> list[dict[str, Any]]:
    with (EXAMPLES / "data" / name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {"inputs": {"speech": row["speech"]}, "expected": {"speaker": row["speaker"]}}
        for row in rows
    ]


def test_demos_that_an_optimiser_found_make_answers_better(client: Client) -> None:
    name = put(client, "who_speaks")
    trainset, testset = examples_of("speeches_train.csv"), examples_of("speeches_test.csv")
    before = client.evaluate(name, testset, "exact-match").result(120).outputs["score"]
    job = client.optimize(name, "BootstrapFewShot", trainset, "exact-match", valset=testset)
    found = job.result(120).outputs
    after = client.evaluate(name, testset, "exact-match").result(120).outputs["score"]
    assert before == found["before"]["score"] < 0.2
    assert after == found["after"]["score"] > 0.8
    assert found["revision"] == client.programs.get(name).revision


@pytest.mark.parametrize("name", ["speeches_train.csv", "speeches_test.csv"])
def test_the_speeches_are_hamlets(name: str) -> None:
    found = examples_of(name)
    assert found
    for one in found:
        assert speeches()[one["inputs"]["speech"]] == one["expected"]["speaker"]


@pytest.mark.parametrize(
    ("page", "heading"),
    [
        ("README.md", "With a language model"),
        ("docs/dspy.md", "In five minutes"),
        ("docs/dspy.md", "From a notebook"),
        ("docs/dspy.md", "Evaluate and optimise from the command line"),
    ],
)
def test_what_the_pages_show_is_so(
    url: str, client: Client, lm: LmServer, tmp_path: Path, page: str, heading: str
) -> None:
    for program in client.programs.list():  # two pages have a program of the same name
        client.programs.delete(program.id)
    (tmp_path / "examples").symlink_to(EXAMPLES)
    for block in blocks(page, "python"):
        if named := re.match(r"# (\w+\.py)\n", block):
            (tmp_path / named[1]).write_text(block)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    notebook = {"NOTEBOOK_LM": "openai/any", "NOTEBOOK_LM_BASE": lm.url, "OPENAI_API_KEY": KEY}
    notebook["DSPY_CACHEDIR"] = str(tmp_path)
    environment = {**os.environ, **notebook, "PATH": path, "ANYPOD_URL": url}
    found = steps(page, heading, but=("pip install", "OPENAI_API_KEY=... anypod up"))
    assert found
    for command, shown in found:
        finished = subprocess.run(
            ["bash", "-c", command.replace(USUAL_URL, url)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        said = finished.stdout.splitlines()
        assert len(said) == len(shown), (command, said)
        for one, other in zip(shown, said, strict=True):
            assert matches(one, other), (command, one, other)


def programs_of(page: str) -> list[dict[str, Any]]:
    found = [yaml.safe_load(block) for block in blocks(page, "yaml")]
    return [one for one in found if one.get("kind") == "dspy"]


@pytest.mark.parametrize("number", range(len(programs_of("docs/dspy.md"))))
def test_programs_of_the_page_are_accepted(client: Client, number: int) -> None:
    given = programs_of("docs/dspy.md")[number]
    assert client.programs.put(f"of-the-page-{number}", **given).kind == "dspy"


def anypod(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("anypod")), *arguments],
        cwd=EXAMPLES,
        env={**os.environ, "ANYPOD_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_line_reads_examples_and_metrics_from_files(url: str, tmp_path: Path) -> None:
    rows = [one["inputs"] | one["expected"] for one in examples_of("speeches_test.csv")[:4]]
    nested = [{"inputs": {"speech": row["speech"]}, "expected": row} for row in rows]
    for name, lines in (("flat", rows), ("nested", nested)):
        text = "\n\n".join(map(json.dumps, lines))
        (tmp_path / f"{name}.jsonl").write_text(text)
    metric = tmp_path / "metric.py"
    metric.write_text("def metric(example, prediction):\n    return 0.5\n")
    for file in ("flat", "nested"):
        path = str(tmp_path / f"{file}.jsonl")
        done = anypod(url, "evaluate", "who_speaks.yaml", path, "--metric", str(metric))
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        found = json.loads(done.stdout)
        assert (found["score"], found["count"], len(found["items"])) == (0.5, 4, 3)


def test_the_command_line_optimises_and_waits(url: str, client: Client) -> None:
    data = "data/speeches_train.csv"
    optimizer = '{"name": "BootstrapFewShot", "maxLabeledDemos": 1}'
    done = anypod(url, "optimize", "who_speaks.yaml", data, "--optimizer", optimizer)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["before"]["count"], found["before"]["items"]) == (18, [])
    assert found["revision"] == client.programs.get("who_speaks").revision


WRONG = [
    (("evaluate", "who_speaks.yaml", "no.csv"), "no.csv cannot be read"),
    (("evaluate", "who_speaks.yaml", "pool.yaml"), "line 1 is not JSON"),
    (("evaluate", "who_speaks.yaml", "data/speeches_test.csv", "-m", "no.py"), "no.py cannot be"),
    (("evaluate", "who_speaks.yaml", "data/speeches_test.csv", "-m", "rouge"), "metric.name"),
    (("evaluate", "speakers.py", "data/speeches_test.csv"), "asks no LM"),
    (("optimize", "who_speaks.yaml", "data/speeches_test.csv", "--optimizer", "{"), "is not JSON"),
    (("optimize", "who_speaks.yaml", "data/speeches_test.csv", "--lm", "no"), "no LM 'no'"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_the_command_line_says_what_is_wrong(
    url: str, arguments: tuple[str, ...], said: str
) -> None:
    done = anypod(url, *arguments)
    assert done.returncode in (2, 3)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
