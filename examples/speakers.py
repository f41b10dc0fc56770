"""Who has the most to say in a play?

In the texts of `data/` a speech begins with the speaker's name on a line of its own, such as
`Ham.`, after an empty line; stage directions are in square brackets.
"""

import re
from collections import defaultdict
from dataclasses import dataclass

SPEECH = re.compile(
    r"\n\n(?P<speaker>[A-Z][A-Za-z. ]{0,30})\.\n(?P<speech>.+?)(?=\n\n|\Z)", re.DOTALL
)
DIRECTION = re.compile(r"\[[^\]]*\]")


@dataclass
class Part:
    speaker: str
    speeches: int
    words: int
    longest: int
    """Words of the longest speech."""


def main(text: str, top: int = 5) -> list[Part]:
    """The speakers with the most words."""
    lengths: dict[str, list[int]] = defaultdict(list)
    for match in SPEECH.finditer(text):
        words = DIRECTION.sub("", match["speech"]).split()
        lengths[match["speaker"]].append(len(words))
    parts = [Part(who, len(all_), sum(all_), max(all_)) for who, all_ in lengths.items()]
    return sorted(parts, key=lambda part: part.words, reverse=True)[:top]
