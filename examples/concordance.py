"""Every place where a text uses a word, one after the other: a generator, so it streams."""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Place:
    line: int
    before: str
    word: str
    after: str


def main(text: str, word: str, width: int = 30) -> Iterator[Place]:
    """Occurrences of `word` with `width` characters around them."""
    pattern = re.compile(rf"\b{re.escape(word)}\b", re.IGNORECASE)
    for number, line in enumerate(text.splitlines(), start=1):
        for match in pattern.finditer(line):
            yield Place(
                line=number,
                before=line[max(0, match.start() - width) : match.start()],
                word=match[0],
                after=line[match.end() : match.end() + width],
            )
