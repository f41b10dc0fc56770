"""What the documentation shows is so: its programs are accepted, its metrics are there."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from tests.support.pages import USUAL_URL, blocks, matches, steps

from anypod.client import Client

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

PROGRAMS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.glob("*.md"))
    for number, block in enumerate(BLOCK.findall(page.read_text()), start=1)
    if "def main(" in block
]


@pytest.mark.parametrize("source", PROGRAMS)
def test_a_program_of_the_documentation_is_accepted(client: Client, source: str) -> None:
    document = client.programs.put("from-the-docs", source=source)
    assert document.inputs_schema is not None


def test_the_first_program_of_the_documentation_answers_as_shown(client: Client) -> None:
    source = BLOCK.findall((DOCS / "programs.md").read_text())[0]
    answer = client.run_source(source, {"name": "Ada", "times": 2})
    assert answer.outputs == "hello hello Ada"


def test_the_nights_of_the_documentation_are_counted(client: Client) -> None:
    source = next(param.values[0] for param in PROGRAMS if "class Stay" in str(param.values[0]))
    stays = [
        {"guest": "Ada", "since": "2024-02-27", "until": "2024-03-01"},
        {"guest": "Ada", "since": "2024-03-05", "until": "2024-03-06"},
    ]
    assert client.run_source(str(source), {"stays": stays}).outputs == {"Ada": 4}


SQUARE = "def main(n: int) -> int:\n    return n * n\n"


def test_a_batch_over_http_is_answered_as_shown(client: Client, pool: tuple[str, int]) -> None:
    client.programs.put("square", source=SQUARE)
    (command, shown), *more = steps("docs/batches.md", "Over HTTP")
    assert not more
    done = subprocess.run(
        ["bash", "-c", command.replace(USUAL_URL, pool[0])],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = done.stdout.splitlines()
    assert len(said) == len(shown), said
    for one, other in zip(shown, said, strict=True):
        assert matches(one, other), (one, other)


def test_a_batch_from_python_gives_an_item_for_each_input(
    client: Client, pool: tuple[str, int]
) -> None:
    client.programs.put("square", source=SQUARE)
    (source,) = blocks("docs/batches.md", "python")
    source = source.replace("Client()", f"Client({pool[0]!r})")
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [f"{n} {n * n}" for n in range(1000)]


def test_a_job_from_python_is_submitted_read_and_found_as_shown(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    client.programs.put("greet", source="def main(name: str) -> str:\n    return f'hello {name}'\n")
    source, *_ = blocks("docs/jobs.md", "python")
    names: dict[str, Any] = {"client": client}
    exec(source, names)
    job, outputs = capsys.readouterr().out.split(maxsplit=1)
    assert outputs == "hello Ada\n"
    assert names["later"].get().id == job
    for name in re.findall(r"[a-z]+", source.partition("# get, ")[2].partition("\n")[0]):
        assert callable(getattr(names["later"], name))


def test_every_metric_is_in_the_table(client: Client, pool: tuple[str, int]) -> None:
    client.session("metrics").run_source("def main(session): session.state['x'] = 1")
    client.session("metrics").end()
    with urlopen(f"{pool[0]}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    served = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE):
        if name.startswith("anypod_"):
            is_counter = kind == "counter" and not name.endswith("_total")
            served.add(f"{name}_total" if is_counter else name)

    told = re.findall(r"^\| `(anypod_\w+)` \|", (DOCS / "http-api.md").read_text(), re.MULTILINE)
    assert set(told) == served
