"""What an optimisation has found becomes a revision of its program.

The commit of it is that of its job's end, so it happens once, whatever dies. The state comes from
an executor, where the program's own code runs, and is checked as a client's would be. What cannot
become the latest revision, because the program has changed meanwhile or the score is lower, is
told with the reason, and lost to nobody.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from anypod.api.dspy_programs import DspyCode
from anypod.api.problems import AnyPodError
from anypod.dspy import spec, tasks
from anypod.resources import WorkerPoolSpec
from anypod.store.job_records import Job
from anypod.store.programs import Following, ProgramStore
from anypod.store.revisions import Origin, Revision
from anypod.wire.messages import Code
from anypod_gateway import requests
from anypod_gateway.executions import Runner
from anypod_gateway.given import GivenProgram, checked, named

_CHECKS = 10
_PAUSE_SECONDS = 1.0
_PASSING = frozenset({"no-worker", "queue-full", "worker-lost", "deadline-exceeded"})
"""What says nothing of the state: it is checked again."""
_CHANGED = "the program has changed meanwhile"
_TOO_LARGE = (
    "the store does not take its revision and the job's end at once: put the state yourself"
)


class _Score(msgspec.Struct, frozen=True):
    score: float


class _Found(msgspec.Struct, frozen=True):
    """Of a task's outputs, what is looked at."""

    before: _Score
    after: _Score | None
    state: dict[str, Any]
    reason: str = ""
    """Why there is no score after."""


@dataclass(frozen=True, slots=True)
class Revised:
    """What a task ends with."""

    outputs: bytes
    following: Following = field(default_factory=Following)
    lesser: "Revised | None" = None
    """What it ends with when the store does not take all of that."""


class _Kept(Exception):
    """Why the program stays as it is."""


@dataclass(frozen=True, slots=True)
class Optimised:
    programs: Callable[[], ProgramStore]
    runner: Runner
    pool: Callable[[], WorkerPoolSpec]

    async def revised(self, job: Job, code: Code | None, outputs: bytes) -> Revised:
        """Of an evaluation, its outputs as they are. Raises StoreUnavailable."""
        if job.task != "optimize":
            return Revised(outputs)
        found = _object(outputs)
        told = {**found, "parent": job.task_of, "revision": None}
        try:
            task, optimizer = _optimizing(code)
            revision = await self._revision(job, task, optimizer, found)
            following = await self._following(job, revision)
        except _Kept as why:
            return _kept(told, str(why))
        except AnyPodError as refused:
            return _kept(told, f"it was refused: {refused}")
        shorter = tasks.without_items(told)
        name = revision.revision
        lesser = Revised(_encoded(shorter, revision=name), following, _kept(shorter, _TOO_LARGE))
        return Revised(_encoded(told, revision=name), following, lesser)

    async def _following(self, job: Job, revision: Revision) -> Following:
        following = await self.programs().following(job.program, revision, job.task_of)
        if following is None:
            raise _Kept(_CHANGED)
        return following

    async def _revision(
        self, job: Job, task: tasks.Task, optimizer: tasks.Optimizer, outputs: dict[str, Any]
    ) -> Revision:
        """Raises _Kept, AnyPodError."""
        try:
            found = msgspec.convert(outputs, _Found)
        except msgspec.ValidationError as wrong:
            raise _Kept(f"these are no outputs of an optimisation: {wrong}") from None
        if found.after is None:
            raise _Kept(f"it could not be scored again: {found.reason}")
        if found.after.score < found.before.score:
            raise _Kept("the score is lower than before")
        parent = await self.programs().revision(job.program, job.task_of)
        if parent is None:
            raise _Kept(_CHANGED)
        given = named(self.pool(), _with_state(parent, found.state))
        if given.revision == parent.revision:
            raise _Kept("nothing better was found than what there is")
        origin = Origin(
            parent=parent.revision,
            job=job.id,
            optimizer=optimizer.name,
            metric=task.metric.name or "source",
            before=found.before.score,
            after=found.after.score,
        )
        return await self._checked(job.program, given, origin)

    async def _checked(self, program: str, given: GivenProgram, origin: Origin) -> Revision:
        """Raises AnyPodError."""
        for _ in range(_CHECKS - 1):
            try:
                return await checked(self.runner, program, given, origin)
            except AnyPodError as failure:
                if failure.type not in _PASSING:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)
        return await checked(self.runner, program, given, origin)


def _object(outputs: bytes) -> dict[str, Any]:
    """What an executor gave; empty when it is no object."""
    found = json.loads(outputs)
    return found if isinstance(found, dict) else {}


def _optimizing(code: Code | None) -> tuple[tasks.Task, tasks.Optimizer]:
    """Raises _Kept when a newer gateway has asked for what is not known here."""
    try:
        task = tasks.task_of(code) if code is not None else None
    except msgspec.DecodeError as unknown:
        raise _Kept(f"this gateway does not know what was asked for: {unknown}") from None
    if task is None or task.optimizer is None:
        raise _Kept("what was asked for is not known any more")
    return task, task.optimizer


def _with_state(parent: Revision, state: dict[str, Any]) -> DspyCode:
    """As a client would give it. Raises AnyPodError."""
    document = {
        **json.loads(parent.files[spec.FILE]),
        "kind": "dspy",
        "state": state,
        "timeoutSeconds": parent.timeout_seconds,
        "idempotent": parent.idempotent,
    }
    model = requests.validate(DspyCode, document, "", "invalid-program")
    if parent.concurrency == model.most_at_once():
        return model
    return model.model_copy(update={"concurrency": parent.concurrency})


def _kept(told: dict[str, Any], why: str) -> Revised:
    """The program stays as it is."""
    lesser = Revised(_encoded(tasks.without_items(told), reason=why))
    return Revised(_encoded(told, reason=why), lesser=lesser)


def _encoded(told: dict[str, Any], **more: str) -> bytes:
    document = {**told, **more}
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:  # an LM's unpaired surrogate: only an escape can say it
        return json.dumps(document, allow_nan=False).encode()
