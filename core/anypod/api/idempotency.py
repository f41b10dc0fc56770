"""The header Idempotency-Key: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/

The draft has a string of structured fields (RFC 8941, 3.3.3), in quotes; most services take it
without, so both are read.
"""

import re

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
PATTERN = r'^("([ !#-\[\]-~]|\\["\\]){1,255}"|[!#-\[\]-~]{1,255})$'
SHAPE = "1 to 255 printable ASCII characters, best in quotes"

_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"')
_BARE = re.compile(r"[!#-\[\]-~]{1,255}")


class BadKey(ValueError):
    """The header's value is not a key."""


def key_of(header: str) -> str:
    """The key that a header's value stands for. Raises BadKey."""
    text = header.strip(" \t")
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None:
        return re.sub(r"\\(.)", r"\1", quoted[1])
    if _BARE.fullmatch(text) is not None:
        return text
    raise BadKey(f"{HEADER} has {SHAPE}")


def header_of(key: str) -> str:
    """The header's value for a key. Raises BadKey."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    header = f'"{escaped}"'
    if key_of(header) != key:
        raise BadKey(f"{HEADER} has {SHAPE}")
    return header
