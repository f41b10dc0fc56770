"""A program as a client gave it, of whatever kind: checked, in its canonical form, and named."""

from dataclasses import dataclass
from typing import Any, TypeVar

from anypod.api.dspy_checks import Refused, spec_of
from anypod.api.dspy_programs import DspyCode
from anypod.api.problems import error
from anypod.api.programs import ProgramCode
from anypod.dspy import spec
from anypod.store.kv import MAX_VALUE_BYTES
from anypod.store.revisions import revision_of
from anypod.wire.messages import Code
from anypod_gateway import lms, requests
from anypod_gateway.services import Pool

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
    return named(pool, _model(value, python, dspy, within))


def _model(value: Any, python: type[P], dspy: type[D], within: str) -> P | D:
    kind = value.get("kind", "python") if isinstance(value, dict) else "python"
    if kind not in KINDS:
        path = f"{within}.kind".strip(".")
        raise error("bad-request", f"{path}: there are the kinds {', '.join(KINDS)}", path=path)
    if kind == "python":
        return requests.validate(python, value, within)
    return requests.validate(dspy, value, within, "invalid-program")


def named(pool: Pool, model: ProgramCode | DspyCode) -> GivenProgram:
    """With its revision, if the pool and the store can take it. Raises AnyPodError."""
    code = model.code() if isinstance(model, ProgramCode) else _dspy_code(pool, model)
    size = sum(len(path) + len(text.encode()) for path, text in code.files.items())
    if size > MAX_VALUE_BYTES:
        raise error(
            "too-large",
            f"{size} bytes of files; a program may have {MAX_VALUE_BYTES}",
            limit=MAX_VALUE_BYTES,
        )
    most = pool.spec.limits.max_timeout_seconds
    if model.timeout_seconds is not None and model.timeout_seconds > most:
        raise error(
            "bad-request", f"timeoutSeconds may be {most:g} in this pool", path="timeoutSeconds"
        )
    allowed = pool.spec.concurrency
    if model.concurrency is not None and model.concurrency > allowed:
        raise error("bad-request", f"concurrency may be {allowed} in this pool", path="concurrency")
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


def _dspy_code(pool: Pool, model: DspyCode) -> Code:
    try:
        document = spec_of(model)
        text = spec.encode(document)
        text.encode()
    except Refused as wrong:
        raise lms.invalid_program(wrong.path, str(wrong), wrong.line) from None
    except RecursionError:
        raise lms.invalid_program("state", "it is nested too deeply") from None
    except UnicodeEncodeError:
        raise lms.invalid_program("state", "it has an unpaired surrogate") from None
    lms.check_program(pool.spec, document.lm)
    return Code("dspy", {spec.FILE: text}, document.module.name)
