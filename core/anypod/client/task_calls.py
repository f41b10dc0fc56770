"""The calls that evaluate and optimise programs of kind dspy, as data: each begins a job."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from pydantic.alias_generators import to_camel

from anypod.api import idempotency
from anypod.api.jobs import JobDocument
from anypod.client import answers
from anypod.client.calls import Api, Call, encode
from anypod.client.job_calls import JobOptions, as_job

Example = Mapping[str, Any]
"""``inputs``, and ``expected``: both mappings of fields to values."""
Metric = str | Mapping[str, Any]
"""``exact-match``, ``contains``, ``f1``, ``semantic``; or a mapping of ``name`` and ``field``, or
of ``source``."""


class _TaskOptions(TypedDict, total=False):
    lm: str | Mapping[str, Any]
    concurrency: int
    """Examples at once."""
    budget: Mapping[str, Any]
    """``seconds`` and ``lmCalls``, at most."""
    max_errors: int
    """Examples that may fail before the job does."""
    shown: int
    """Examples that the result tells of, the worst first."""


class TaskArguments(_TaskOptions, JobOptions, total=False):
    """How a program is evaluated or optimised, and what its job is told."""

    idempotency_key: str
    """As of a run: a fresh one if none is given."""


def evaluate(
    api: Api, program: str, dataset: Iterable[Example], metric: Metric, given: TaskArguments
) -> Call[JobDocument]:
    return _begun(api, program, "evaluate", {"dataset": list(dataset), "metric": metric}, given)


def optimize(
    api: Api,
    program: str,
    optimizer: str | Mapping[str, Any],
    data: Mapping[str, Iterable[Example] | None],
    metric: Metric,
    given: TaskArguments,
) -> Call[JobDocument]:
    body: dict[str, Any] = {"optimizer": optimizer, "metric": metric}
    body |= {name: list(examples) for name, examples in data.items() if examples is not None}
    return _begun(api, program, "optimize", body, given)


def _begun(
    api: Api, program: str, verb: str, body: dict[str, Any], given: TaskArguments
) -> Call[JobDocument]:
    own = _TaskOptions.__annotations__.keys()
    body |= {to_camel(name): value for name, value in given.items() if name in own}
    key = given.get("idempotency_key")
    key = uuid.uuid4().hex if key is None else key
    call = Call(
        "POST",
        f"{api.reference(program)}/{verb}",
        answers.answer,
        headers={idempotency.HEADER: idempotency.header_of(key)} if key else {},
        body=encode(body),
        keyed=bool(key),
    )
    return as_job(call, given)
