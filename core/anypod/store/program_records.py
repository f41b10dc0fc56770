"""The records of programs, what can be wrong with a change of one, and the next record."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from anypod.store.records import Record
from anypod.store.revisions import SHORTEST_PREFIX, Origin, Revision

REVISIONS_KEPT = 100
"""Of one program; older ones are deleted."""


class AlreadyExists(Exception):
    """The id is taken by other content."""


class RevisionConflict(Exception):
    """The program is not at the revision that the caller expects."""


class ProgramNotFound(Exception):
    """There is no such program."""


class RevisionNotFound(Exception):
    """The program has no such revision (any more), or the prefix fits more than one."""


class Head(Record, frozen=True, kw_only=True):
    """A program as it is now. Small: every gateway keeps all of them in memory."""

    id: str
    revision: str
    kind: str
    entrypoint: str
    timeout_seconds: float | None = None
    idempotent: bool = False
    concurrency: int = 1
    streams: bool = False
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    created_at: datetime
    updated_at: datetime
    uid: str
    """New for each program: one that was deleted and created again is another."""
    session: str | None = None
    """The session that owns it; None when the pool does."""


class Step(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    revision: str
    created_at: datetime
    origin: Origin | None = None


class History(Record, frozen=True, kw_only=True):
    """Which revisions a program has: each once, the one that was current last at the end."""

    steps: list[Step] = msgspec.field(default_factory=list)

    def find(self, name: str) -> str:
        """The revision that ``name`` or a prefix of it names. Raises RevisionNotFound."""
        found = [step.revision for step in self.steps if step.revision.startswith(name)]
        if len(name) < SHORTEST_PREFIX:
            raise RevisionNotFound(f"{name!r}: {SHORTEST_PREFIX} digits of a revision at least")
        if not found:
            raise RevisionNotFound(f"no revision {name!r}")
        if len(found) > 1:
            raise RevisionNotFound(f"more than one revision begins with {name!r}")
        return found[0]

    def previous(self) -> str:
        """Raises RevisionNotFound."""
        if len(self.steps) < 2:
            raise RevisionNotFound("there is no earlier revision")
        return self.steps[-2].revision

    def knows(self, revision: str) -> bool:
        return any(step.revision == revision for step in self.steps)

    def then(self, revision: Revision) -> tuple["History", list[str]]:
        """The history once ``revision`` is current, and which revisions fall out of it."""
        first = Step(revision.revision, revision.created_at, revision.origin)
        now = next((step for step in self.steps if step.revision == revision.revision), first)
        steps = [*(step for step in self.steps if step is not now), now]
        dropped = [step.revision for step in steps[:-REVISIONS_KEPT]]
        return History(steps=steps[-REVISIONS_KEPT:]), dropped


@dataclass(frozen=True, slots=True)
class Written:
    head: Head
    created: bool = False
    changed: bool = True
    """False when everything was so already."""


def first_head(
    program: str, revision: Revision, labels: Mapping[str, str], session: str | None
) -> Head:
    now = datetime.now(UTC)
    return Head(
        id=program,
        revision=revision.revision,
        kind=revision.kind,
        entrypoint=revision.entrypoint,
        timeout_seconds=revision.timeout_seconds,
        idempotent=revision.idempotent,
        concurrency=revision.concurrency,
        streams=revision.streams,
        labels=dict(labels),
        created_at=now,
        updated_at=now,
        uid=secrets.token_hex(8),
        session=session,
    )


def next_head(head: Head, revision: Revision, labels: Mapping[str, str] | None) -> Head:
    """The head after ``revision`` has become current; labels of None stay as they are."""
    kept = head.labels if labels is None else labels
    fresh = first_head(head.id, revision, kept, head.session)
    return msgspec.structs.replace(fresh, created_at=head.created_at, uid=head.uid)


def same(head: Head, revision: Revision, labels: Mapping[str, str] | None) -> bool:
    same_labels = labels is None or head.labels == dict(labels)
    return head.revision == revision.revision and same_labels


def taken(head: Head, revision: str) -> AlreadyExists:
    """By a program that has other content than ``revision``, or other labels alone."""
    if head.revision != revision:
        return AlreadyExists(
            f"program {head.id!r} exists with other content; PUT gives it a new revision"
        )
    return AlreadyExists(f"program {head.id!r} exists with other labels; PUT changes them")


def check_match(program: str, head: Head | None, expected: str | None) -> None:
    """``expected`` is a revision, or ``*`` for any. Raises RevisionConflict."""
    if expected is None:
        return
    if head is None:
        raise RevisionConflict(f"program {program!r} does not exist")
    if expected not in ("*", head.revision):
        raise RevisionConflict(f"program {program!r} is at revision {head.revision}")
