"""An index that is built once and asked often: what a session keeps in memory, and what it stores.

`index` is a global: it lives in the session's executor from call to call, and is gone with its
worker. What is in `session.state` is stored, so it is there on the next worker too. A program that
can make anew what it has lost says when that is needed, as this one does with `loaded`.
"""

import re
from collections import defaultdict
from dataclasses import dataclass

from anypod import session

index: dict[str, list[int]] = {}


@dataclass
class Found:
    loaded: bool
    """False: there is no index (any more); send the text again."""
    lines: list[int]
    asked: list[str]
    """All words that were looked up in this session."""


def main(word: str, text: str | None = None) -> Found:
    """The numbers of the lines with `word`; `text` is needed once."""
    if text is not None:
        build(text)
    asked = [*session.state.get("asked", []), word]
    session.state["asked"] = asked
    return Found(loaded=bool(index), lines=index.get(word.lower(), []), asked=asked)


def build(text: str) -> None:
    lines: dict[str, set[int]] = defaultdict(set)
    for number, line in enumerate(text.splitlines(), start=1):
        for word in re.findall("[a-z]+", line.lower()):
            lines[word].add(number)
    index.clear()
    index.update({word: sorted(numbers) for word, numbers in lines.items()})
