"""Runs of DSPy programs in the test's own process, as an executor has them, on a server's LM."""

import asyncio
import json
from typing import Any

from anypod.api.dspy_checks import spec_of
from anypod.api.dspy_programs import CreateDspyProgram
from anypod.session import Session
from anypod.wire.config import Lm
from anypod_worker.kinds.dspy import kind, modules
from anypod_worker.kinds.dspy.models import Models
from anypod_worker.kinds.dspy.running import DspyPlan
from anypod_worker.kinds.given import Given
from anypod_worker.runtime.results import Last


def plan(url: str, functions: dict[str, Any] | None = None, /, **given: Any) -> DspyPlan:
    """Of the program that a client would give; tools are functions here."""
    kind.prepare()
    said = {"kind": "dspy", "signature": "question -> answer", **given}
    parts = modules.parts(spec_of(CreateDspyProgram.model_validate(said)), functions or {})
    modules.check(parts)
    return DspyPlan(parts, Models.of(parts), None, [Lm("fast", "hosted_vllm/x", url, retries=0)])


def run(plan: DspyPlan, session: Session | None = None, /, **inputs: Any) -> dict[str, Any]:
    """The outputs. Raises what the run does."""
    arguments, _ = plan.bind(json.dumps(inputs).encode(), session, Given())
    return asyncio.run(_awaited(plan.entry(*arguments)))


async def _awaited(asking: Any) -> dict[str, Any]:
    outputs: dict[str, Any] = await asking
    return outputs


def stream(plan: DspyPlan, **inputs: Any) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """The pieces by field, and the outputs."""
    arguments, _ = plan.bind(json.dumps(inputs).encode(), None, Given(stream=True))
    return asyncio.run(_read(plan.entry(*arguments)))


async def _read(items: Any) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    pieces: list[tuple[str, str]] = []
    async for item in items:
        if isinstance(item, Last):
            return pieces, item.value
        pieces.append((item["field"], item["text"]))
    raise AssertionError("a stream ends with its outputs")
