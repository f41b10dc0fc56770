"""The kind ``dspy``: what an executor makes of a revision's ``program.json``.

The entry is a coroutine, or while streaming an async generator; each call makes a module and an LM
of its own. What is kept between calls is what the spec says: types, signature, functions.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from anypod.dspy import spec, tasks
from anypod.wire.config import Lm
from anypod.wire.messages import Code
from anypod_worker.kinds import Kind
from anypod_worker.kinds.dspy import (
    adapters,
    catalog,
    engine,
    functions,
    history,
    lms,
    marks,
    modules,
    prompts,
    proposals,
    resolutions,
    tls,
)
from anypod_worker.kinds.dspy.models import Models
from anypod_worker.kinds.dspy.running import DspyPlan
from anypod_worker.kinds.dspy.tasks import TaskPlan
from anypod_worker.runtime import interrupts
from anypod_worker.runtime.loading import InvalidProgram, LoadedProgram, invalid
from anypod_worker.runtime.signatures import Description


def prepare() -> None:
    """Have DSPy use what is ours in the place of its own; once more changes nothing."""
    catalog.prepare()
    tls.share()
    engine.use()
    adapters.remember()
    prompts.remember()
    resolutions.remember()
    marks.use()
    proposals.use()
    history.use()


def kind(pool: Sequence[Lm]) -> Kind:
    prepare()

    def load(code: Code, revision: str, directory: Path) -> LoadedProgram:
        return _load(code, revision, directory, pool)

    return Kind(load, _describe)


def _load(code: Code, revision: str, directory: Path, pool: Sequence[Lm]) -> LoadedProgram:
    """Interruptible. Raises InvalidProgram."""
    try:
        document = spec.decode(code.files[spec.FILE])
        task = tasks.task_of(code)
    except (KeyError, msgspec.DecodeError, RecursionError) as error:
        raise invalid(f"{spec.FILE}: {error}") from None
    folder = Path(tempfile.mkdtemp(prefix=f"{revision[:12]}-", dir=directory)).resolve()
    program = LoadedProgram(revision, folder, [])
    execution = interrupts.Execution()
    try:
        with execution:
            plan = _plan(document, folder, pool)
            program.plan = plan if task is None else TaskPlan.of(plan, task, folder)
    except interrupts.Interrupted:
        interrupts.finish()
        program.close()
        late = invalid("defining its tools did not end in time", path="tools")
        raise InvalidProgram(late.failure, interrupted=True) from None
    except InvalidProgram as error:
        program.close()
        error.interrupted = execution.interrupted
        raise
    program.entry = program.plan.entry
    program.entrypoint = code.entrypoint
    return program


def _plan(document: spec.Spec, folder: Path, pool: Sequence[Lm]) -> DspyPlan:
    tools = {
        tool.name: functions.defined(
            tool.source, tool.name, folder / "tools" / f"{tool.name}.py", f"tools.{number}.source"
        )
        for number, tool in enumerate(document.tools)
    }
    reward: Any = None
    if document.wrap is not None:
        file = folder / "wrap" / "reward.py"
        reward = functions.defined(document.wrap.reward, "reward", file, "wrap.reward")
    parts = modules.parts(document, tools)
    modules.check(parts)
    lms.check(*lms.chosen(pool, document.lm))
    return DspyPlan(parts, Models.of(parts), reward, pool)


def _describe(program: LoadedProgram) -> Description:
    plan: DspyPlan | TaskPlan = program.plan
    return plan.description()
