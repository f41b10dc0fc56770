"""What the documentation shows is so: its programs are accepted, its metrics are there."""

import re
from pathlib import Path
from urllib.request import urlopen

import pytest

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
