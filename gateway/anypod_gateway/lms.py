"""Which LM is asked: only one that the pool declares, and only by a program that asks one."""

from anypod.api.problems import AnyPodError, error
from anypod.dspy.spec import MAX_TOKENS, LmChoice
from anypod.resources import WorkerPoolSpec
from anypod.resources.lms import ordered


def check_choice(spec: WorkerPoolSpec, choice: LmChoice, kind: str) -> None:
    """What a run says of the LM, as far as it can be known without the program. Raises
    AnyPodError."""
    if kind != "dspy":
        raise error("bad-request", f"a program of kind {kind} asks no LM", path="lm")
    if wrong := unknown(spec, choice.name):
        raise error("bad-request", wrong, path="lm")
    if wrong := too_long(spec, choice, choice.name):
        raise error("bad-request", wrong, path=MAX_TOKENS)


def check_sessions(spec: WorkerPoolSpec, choice: LmChoice) -> None:
    """What is left of a session's choice under a run's, which was checked before: the pool may have
    changed since. Raises AnyPodError."""
    if wrong := unknown(spec, choice.name):
        why = f"the session chose an LM that is gone: {wrong}; choose another one for the session"
        raise error("bad-request", why, path="lm")
    if wrong := too_long(spec, choice, choice.name):
        raise error("bad-request", wrong, path=MAX_TOKENS)


def check_program(spec: WorkerPoolSpec, choice: LmChoice | None) -> None:
    """What a program says of the LM. Raises AnyPodError."""
    choice = choice or LmChoice()
    if wrong := unknown(spec, choice.name):
        raise invalid_program("lm", wrong)
    asked = choice.name or ordered(spec.lms, spec.default_lm)[0].name
    if wrong := too_long(spec, choice, asked):
        raise error("invalid-program", wrong, path=MAX_TOKENS)


def unknown(spec: WorkerPoolSpec, name: str | None) -> str:
    """Why there is no such LM; empty if there is."""
    if not spec.lms:
        return "the pool declares no LMs (spec.lms of the WorkerPool)"
    names = [lm.name for lm in spec.lms]
    if name is None or name in names:
        return ""
    return f"the pool has no LM {name!r}; it has: {', '.join(names)}"


def too_long(spec: WorkerPoolSpec, choice: LmChoice, name: str | None) -> str:
    """Why the LM of that name is not asked for so long an answer; empty if it is, or if there is no
    name: then the program says one, and the worker looks."""
    most = next((lm.max_tokens for lm in spec.lms if lm.name == name), None)
    return choice.too_long(name or "", most)


def invalid_program(path: str, message: str, line: int | None = None) -> AnyPodError:
    return error("invalid-program", f"{path}: {message}", path=path, line=line)
