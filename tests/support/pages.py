"""What pages of the documentation show: commands with what they say, and blocks of a language.

``…`` in what is shown stands for anything within the line.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
USUAL_URL = "http://127.0.0.1:8700"
_BLOCKS = re.MULTILINE | re.DOTALL

Step = tuple[str, list[str]]
"""A command, and the lines that are shown below it."""


def steps(page: str, heading: str, *, but: tuple[str, ...] = ()) -> list[Step]:
    """The commands below a heading, without those that begin like one of ``but``."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", (ROOT / page).read_text(), _BLOCKS)
    found: list[Step] = []
    for block in re.findall(r"^```console\n(.*?)^```", section[1] if section else "", _BLOCKS):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return [step for step in found if not step[0].startswith(but)]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), _BLOCKS)


def matches(shown: str, said: str) -> bool:
    pattern = ".*".join(map(re.escape, shown.split("…")))
    return re.fullmatch(pattern, said) is not None
