"""OpenAPI tells every problem that a run can answer, and no other, as the code itself says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from anypod.api.problems import TABLE
from anypod_gateway import openapi, routes

ROOT = Path(__file__).parents[3]
GATEWAY = ROOT / "gateway/anypod_gateway"
ON_THE_WAY = (
    *("handlers/runs", "handlers/keyed", "handlers/accepting", "handlers/streams"),
    *("requests", "given", "lms", "services", "failures", "once", "jobs/queue"),
    *("admission", "dispatch", "courses", "sessions", "session_runs"),
)
"""Modules of the gateway that a run goes through; and what a worker says is in all of its."""
OF_TASKS = frozenset({"budget-spent"})
"""What a worker says of evaluations and optimisations alone."""
OF_NAMED_PROGRAMS = frozenset({"program-not-found", "revision-not-found"})
OTHERS = {
    "already-exists": "programs are created elsewhere",
    "authentication-unavailable": "SECURED",
    "budget-spent": "a task's result",
    "job-cancelled": "a job's result",
    "job-not-finished": "a job's result",
    "job-not-found": "jobs are asked for elsewhere",
    "method-not-allowed": "EVERYWHERE",
    "not-found": "EVERYWHERE",
    "forbidden": "EVERYWHERE",
    "revision-conflict": "programs are changed elsewhere",
    "too-many-attempts": "SECURED",
    "unauthenticated": "SECURED",
    "worker-not-found": "workers are asked for elsewhere",
}
"""What a run's own code does not answer, and why."""


def said(module: Path) -> Iterator[str]:
    """The types of problems that a module makes: first arguments, or named ``type``."""
    for call in ast.walk(ast.parse(module.read_text())):
        if isinstance(call, ast.Call):
            types = [*call.args[:1], *(one.value for one in call.keywords if one.arg == "type")]
            for part in (inner for one in types for inner in ast.walk(one)):
                if isinstance(part, ast.Constant) and part.value in TABLE:
                    yield str(part.value)


def can_answer() -> set[str]:
    modules = [GATEWAY / f"{name}.py" for name in ON_THE_WAY]
    modules += (ROOT / "worker_image/anypod_worker").rglob("*.py")
    return {type_ for module in modules for type_ in said(module)} - OF_TASKS


def told(name: str) -> set[str]:
    """As the document has it."""
    (route,) = (route for route in routes.TABLE if route.name == name)
    return set(route.problems)


def test_what_a_run_can_answer_is_told() -> None:
    everywhere = set(openapi.EVERYWHERE)
    assert told("run_program") == can_answer() - everywhere
    assert told("run_inline") == can_answer() - everywhere - OF_NAMED_PROGRAMS


def test_each_type_is_a_runs_or_somebody_elses() -> None:
    assert can_answer() | OTHERS.keys() == TABLE.keys()
    assert not can_answer() & OTHERS.keys()


def test_a_job_ends_as_a_run_does() -> None:
    of_jobs = told("run_program") - {"revision-not-found"}  # found before there is a job
    assert told("get_job_result") >= of_jobs | OF_TASKS


@pytest.mark.parametrize("type_", ["session-not-found", "lm-auth", "queue-full"])
def test_the_derivation_finds_what_is_far_away(type_: str) -> None:
    assert type_ in can_answer()
