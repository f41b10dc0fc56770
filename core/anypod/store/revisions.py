"""One immutable version of a program, and its name: the SHA-256 of its canonical form."""

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from anypod.store.records import Record
from anypod.wire.messages import Checked, Code

SHORTEST_PREFIX = 8
"""Hex digits by which a revision may be named."""


def revision_of(
    kind: str,
    files: Mapping[str, str],
    entrypoint: str,
    timeout_seconds: float | None = None,
    idempotent: bool = False,
    concurrency: int = 1,
) -> str:
    """The revision's name. Raises ValueError for what has no canonical form."""
    canonical = {
        "kind": kind,
        "files": dict(files),
        "entrypoint": entrypoint,
        "timeoutSeconds": _number(timeout_seconds),
        "idempotent": idempotent,
    }
    if concurrency != 1:  # the names of all others are older than this field
        canonical["concurrency"] = concurrency
    text = json.dumps(
        canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    try:
        return hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise ValueError(f"not Unicode text: {error.reason}") from error


def _number(value: float | None) -> float | None:
    """30 and 30.0 are one timeout, so they have one form."""
    if value is None:
        return None
    if not math.isfinite(value):
        raise ValueError(f"not a number of seconds: {value}")
    return int(value) if value == int(value) else value


class Origin(msgspec.Struct, frozen=True, rename="camel"):
    """Where a revision comes from that no client gave."""

    parent: str
    """The revision that was optimised."""
    job: str
    optimizer: str
    metric: str
    before: float
    """The parent's score."""
    after: float


class Revision(Record, frozen=True, kw_only=True):
    revision: str
    kind: str
    files: dict[str, str]
    entrypoint: str
    timeout_seconds: float | None = None
    idempotent: bool = False
    concurrency: int = 1
    created_at: datetime
    streams: bool = False
    doc: str | None = None
    inputs_schema: dict[str, Any] | None = None
    outputs_schema: dict[str, Any] | None = None
    origin: Origin | None = None

    @property
    def code(self) -> Code:
        """What an executor needs of it."""
        return Code(kind=self.kind, files=self.files, entrypoint=self.entrypoint)


def new_revision(
    code: Code,
    *,
    timeout_seconds: float | None = None,
    idempotent: bool = False,
    concurrency: int = 1,
    checked: Checked | None = None,
    origin: Origin | None = None,
) -> Revision:
    """A revision of this code, with what its check on a worker has found."""
    return Revision(
        revision=revision_of(
            code.kind, code.files, code.entrypoint, timeout_seconds, idempotent, concurrency
        ),
        kind=code.kind,
        files=code.files,
        entrypoint=code.entrypoint,
        timeout_seconds=timeout_seconds,
        idempotent=idempotent,
        concurrency=concurrency,
        created_at=datetime.now(UTC),
        streams=checked.streams if checked else False,
        doc=checked.doc if checked else None,
        inputs_schema=_schema(checked.inputs_schema if checked else None),
        outputs_schema=_schema(checked.outputs_schema if checked else None),
        origin=origin,
    )


def _schema(data: bytes | None) -> dict[str, Any] | None:
    return msgspec.json.decode(data, type=dict[str, Any]) if data is not None else None
