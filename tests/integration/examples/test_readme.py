"""The tour of the README, line by line, gives what the README shows.

``…`` in what it shows stands for anything within the line.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.anypod_up import anypod_up

ROOT = Path(__file__).parents[3]
BLOCKS = re.MULTILINE | re.DOTALL
USUAL_URL = "http://127.0.0.1:8700"

Step = tuple[str, list[str]]
"""A command, and the lines that are shown below it."""


def tour() -> list[Step]:
    text = (ROOT / "README.md").read_text()
    section = re.search(r"^## A tour\n(.*?)(?=^## |\Z)", text, BLOCKS)
    steps: list[Step] = []
    for block in re.findall(r"^```console\n(.*?)^```", section[1] if section else "", BLOCKS):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
    return [step for step in steps if not step[0].startswith(("make ", "anypod up"))]


def python_of_tour() -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(r"^```python\n(.*?)^```", text, BLOCKS)


def matches(shown: str, said: str) -> bool:
    pattern = ".*".join(map(re.escape, shown.split("…")))
    return re.fullmatch(pattern, said) is not None


@pytest.mark.timeout(240)
def test_the_tour_of_the_readme_gives_what_it_shows(tmp_path: Path) -> None:
    assert tour()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    scripts = str(Path(sys.executable).parent)
    with anypod_up(tmp_path, "--workers", "2", workers=2) as (url, _):
        environment = {
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "ANYPOD_URL": url,
        }

        def run(*command: str) -> list[str]:
            finished = subprocess.run(
                command,
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                check=False,
            )
            return finished.stdout.splitlines()

        for command, shown in tour():
            said = run("bash", "-c", command.replace(USUAL_URL, url))
            assert len(said) == len(shown), (command, said)
            for one, other in zip(shown, said, strict=True):
                assert matches(one, other), (command, one, other)
        for source in python_of_tour():
            source = source.replace("Client()", f"Client({url!r})")
            shown = re.findall(r"print\(.*\)  # (.*)$", source, re.MULTILINE)
            assert run(sys.executable, "-c", source) == shown
