"""The rules for names that clients choose, and the making of those that they do not.

Every rule is one pattern, used by requests, paths, the client and the OpenAPI document alike. No
name holds a ``/``, so a name can be one segment of a path and of a store's key.
"""

import os
import re
from base64 import urlsafe_b64encode
from typing import Annotated

from pydantic import StringConstraints

PROGRAM_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
SESSION_KEY = r"^[A-Za-z0-9._~:@-]{1,128}$"
REVISION = r"^[0-9a-f]{64}$"
REVISION_PREFIX = r"^[0-9a-f]{8,64}$"
PROGRAM_REF = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}(@[0-9a-f]{8,64})?$"
WORKER_NAME = r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$"
POOL_NAME = r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"
POOL_REF = POOL_NAME[:-1] + r"(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$"
"""A pool's name; with its namespace behind it, where that is not the gateway's own."""

ProgramId = Annotated[str, StringConstraints(pattern=PROGRAM_ID)]
SessionKey = Annotated[str, StringConstraints(pattern=SESSION_KEY)]
RevisionPrefix = Annotated[str, StringConstraints(pattern=REVISION_PREFIX)]

_program_id = re.compile(PROGRAM_ID[1:-1])
_session_key = re.compile(SESSION_KEY[1:-1])
_revision_prefix = re.compile(REVISION_PREFIX[1:-1])


class InvalidName(ValueError):
    """A name breaks its rule; the message says which rule."""


class InvalidRevision(InvalidName):
    """What stands after the @ is no revision's name."""


def is_program_id(text: str) -> bool:
    return _program_id.fullmatch(text) is not None


def is_session_key(text: str) -> bool:
    return _session_key.fullmatch(text) is not None


def is_revision_prefix(text: str) -> bool:
    return _revision_prefix.fullmatch(text) is not None


def split_program_ref(text: str) -> tuple[str, str]:
    """``id`` or ``id@revision`` → the id and the revision's prefix, or "". Raises InvalidName, or
    InvalidRevision."""
    program, pinned, revision = text.partition("@")
    if not is_program_id(program):
        raise InvalidName(f"a program's id matches {PROGRAM_ID}")
    if pinned and not is_revision_prefix(revision):
        raise InvalidRevision("after the @ stands a revision: its first 8 to 64 hexadecimal digits")
    return program, revision


def new_execution_id() -> str:
    return "x-" + urlsafe_b64encode(os.urandom(15)).decode("ascii")


def new_program_id() -> str:
    """Lower case, and no character that needs care in a shell or a URL."""
    return "p-" + os.urandom(8).hex()
