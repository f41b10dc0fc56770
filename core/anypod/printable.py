"""What others wrote, for a person's terminal: it can change nothing there.

A program's output, a label, or an error's text may hold the escapes by which a terminal is told to
clear itself, to hide what follows, or to name its window.
"""

import re

_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""All but tab and newline; what turns the direction of text; and unpaired surrogates, which no
encoding has."""
SHOWN = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    return _CONTROLS.sub(SHOWN, text)


def escaped(json: str) -> str:
    """The same JSON, without any of them."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", json)
