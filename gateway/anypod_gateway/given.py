"""A program as a client gave it, of whatever kind: checked, in its canonical form, and named."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, TypeVar

from anypod.api.dspy_checks import Refused, spec_of
from anypod.api.dspy_programs import DspyCode
from anypod.api.problems import AnyPodError, error, from_failure
from anypod.api.programs import ProgramCode
from anypod.dspy import spec
from anypod.resources import WorkerPoolSpec
from anypod.store.kv import MAX_VALUE_BYTES
from anypod.store.revisions import Origin, Revision, new_revision, revision_of
from anypod.wire import unpaired
from anypod.wire.messages import Checked, Code
from anypod_gateway import lms, requests
from anypod_gateway.executions import Runner
from anypod_gateway.services import Pool

CHECK_SECONDS = 60.0
"""For a worker to become free, and to import the program."""
VERSION_RETRY_SECONDS = 5
KINDS = ("python", "dspy")


@dataclass(frozen=True, slots=True)
class GivenProgram:
    model: ProgramCode | DspyCode
    code: Code
    revision: str
    concurrency: int
    """Executions that may share an executor."""

    @property
    def timeout_seconds(self) -> float | None:
        return self.model.timeout_seconds

    @property
    def idempotent(self) -> bool:
        return self.model.idempotent


P = TypeVar("P", bound=ProgramCode)
D = TypeVar("D", bound=DspyCode)


def parsed(body: bytes, python: type[P], dspy: type[D]) -> P | D:
    """Raises AnyPodError."""
    return _model(requests.json_of(body), python, dspy, "")


def given_program(
    pool: Pool, value: Any, python: type[ProgramCode], dspy: type[DspyCode], within: str = ""
) -> GivenProgram:
    """Raises AnyPodError."""
    return named(pool.spec, _model(value, python, dspy, within))


def _model(value: Any, python: type[P], dspy: type[D], within: str) -> P | D:
    kind = value.get("kind", "python") if isinstance(value, dict) else "python"
    if kind not in KINDS:
        path = f"{within}.kind".strip(".")
        raise error("bad-request", f"{path}: there are the kinds {', '.join(KINDS)}", path=path)
    if kind == "python":
        return requests.validate(python, value, within)
    return requests.validate(dspy, value, within, "invalid-program")


def named(pool: WorkerPoolSpec, model: ProgramCode | DspyCode) -> GivenProgram:
    """With its revision, if the pool and the store can take it. Raises AnyPodError."""
    code = model.code() if isinstance(model, ProgramCode) else _dspy_code(pool, model)
    size = sum(len(path) + len(text.encode()) for path, text in code.files.items())
    if size > MAX_VALUE_BYTES:
        raise error(
            "too-large",
            f"{size} bytes of files; a program may have {MAX_VALUE_BYTES}",
            limit=MAX_VALUE_BYTES,
        )
    refused = "bad-request" if isinstance(model, ProgramCode) else "invalid-program"
    most = pool.limits.max_timeout_seconds
    if model.timeout_seconds is not None and model.timeout_seconds > most:
        raise error(refused, f"timeoutSeconds may be {most:g} in this pool", path="timeoutSeconds")
    allowed = pool.concurrency
    if model.concurrency is not None and model.concurrency > allowed:
        raise error(refused, f"concurrency may be {allowed} in this pool", path="concurrency")
    concurrency = model.concurrency if isinstance(model, ProgramCode) else model.most_at_once()
    name = revision_of(
        code.kind,
        code.files,
        code.entrypoint,
        model.timeout_seconds,
        model.idempotent,
        concurrency,
    )
    return GivenProgram(model, code, name, concurrency)


def _dspy_code(pool: WorkerPoolSpec, model: DspyCode) -> Code:
    try:
        document = spec_of(model)
        text = spec.encode(document)
        text.encode()
    except Refused as wrong:
        raise lms.invalid_program(wrong.path, str(wrong), wrong.line) from None
    except RecursionError:
        raise lms.invalid_program("state", "it is nested too deeply") from None
    except UnicodeEncodeError:
        place = unpaired.place_in(json.loads(text), "") or ""
        path = unpaired.repaired(place.removeprefix("."))
        raise lms.invalid_program(path, "it has an unpaired surrogate") from None
    lms.check_program(pool, document.lm)
    return Code("dspy", {spec.FILE: text}, document.module.name)


async def checked(
    runner: Runner, program: str, given: GivenProgram, origin: Origin | None = None
) -> Revision:
    """The revision, once a worker has loaded it. Raises AnyPodError."""
    deadline = asyncio.get_running_loop().time() + CHECK_SECONDS
    found = await runner.check(given.revision, given.code, deadline)
    if found.failure is not None:
        raise AnyPodError(from_failure(found.failure, program=program, revision=given.revision))
    if given.concurrency > 1:
        check_waits(program, given.code, found)
    try:
        return new_revision(
            given.code,
            timeout_seconds=given.timeout_seconds,
            idempotent=given.idempotent,
            concurrency=given.concurrency,
            checked=found,
            origin=origin,
        )
    except ValueError as invalid:
        raise error("invalid-program", f"its schema is not JSON: {invalid}") from None


def check_waits(program: str, code: Code, found: Checked) -> None:
    """Raises AnyPodError, if many of it cannot run in one executor."""
    if found.waits is None:  # during an upgrade; another worker looks at it the next time
        raise error(
            "no-worker",
            "the worker that looked at it is of a version without concurrency",
            program=program,
            retry_after=VERSION_RETRY_SECONDS,
        )
    if not found.waits:
        raise error(
            "invalid-program",
            f"concurrency is for programs that wait, and {code.entrypoint!r} is neither an "
            "`async def` function nor an async generator",
            program=program,
            path="concurrency",
        )
