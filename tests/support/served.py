"""A program of kind dspy as an executor has it: by a gateway's checks, and a worker's loading."""

from pathlib import Path
from typing import Any

from anypod.api.dspy_checks import spec_of
from anypod.api.dspy_programs import CreateDspyProgram
from anypod.dspy import spec
from anypod.wire.config import Lm
from anypod.wire.messages import Code
from anypod_worker.kinds.dspy import modules
from anypod_worker.kinds.dspy.kind import kind
from anypod_worker.kinds.dspy.running import DspyPlan

LM = Lm(name="fast", model="openai/gpt-4o-mini")


def plan_of(document: Any, folder: Path) -> DspyPlan:
    """Raises what a gateway and an executor raise for what is no program."""
    text = spec.encode(spec_of(CreateDspyProgram.model_validate(document)))
    loaded = kind([LM]).load(Code("dspy", {spec.FILE: text}, "forward"), "0" * 64, folder)
    plan: DspyPlan = loaded.plan
    return plan


def module_of(document: Any, folder: Path) -> Any:
    """The module that a run would call."""
    return modules.build(plan_of(document, folder).parts)
