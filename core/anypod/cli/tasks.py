"""``anypod evaluate`` and ``anypod optimize``: begin the job, follow it, print what it found."""

import json
import sys
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anypod.cli import rows
from anypod.cli.exits import Usage
from anypod.cli.options import (
    DEFAULT_POOL,
    DEFAULT_URL,
    Format,
    Output,
    Pool,
    Url,
    complete_target,
    connected,
)

if TYPE_CHECKING:
    from anypod.client import Client, Job
    from anypod.client.task_calls import Example, Metric, TaskArguments

Target = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A definition's file; or a program's id, or id@revision.",
        autocompletion=complete_target,
    ),
]
Data = Annotated[
    str,
    typer.Argument(
        metavar="EXAMPLES",
        help="A file with an example each line: JSON, or CSV under a head of names. What is no "
        "input of the program is what is expected.",
    ),
]
MetricOption = Annotated[
    str,
    typer.Option(
        "--metric",
        "-m",
        metavar="NAME|FILE.py",
        help="exact-match, contains, f1, semantic; or a file that defines metric(example, "
        "prediction).",
    ),
]
FieldOption = Annotated[
    str | None, typer.Option("--field", help="The output that a named metric compares.")
]
Lm = Annotated[str | None, typer.Option(help="Of the pool's LMs.", metavar="NAME")]
Concurrency = Annotated[int | None, typer.Option(min=1, max=64, help="Examples at once.")]
LmCalls = Annotated[int | None, typer.Option(min=1, help="At most so many.")]
Seconds = Annotated[float | None, typer.Option(min=0.001, help="That it may take.")]
Shown = Annotated[int, typer.Option(min=0, max=200, help="Examples to tell of, the worst first.")]
MaxErrors = Annotated[int | None, typer.Option(min=0, help="Examples that may fail; 10.")]
Async = Annotated[bool, typer.Option("--async", help="Do not wait; print the id of the job.")]


def evaluate(
    target: Target,
    examples: Data,
    metric: MetricOption = "exact-match",
    field: FieldOption = None,
    lm: Lm = None,
    concurrency: Concurrency = None,
    lm_calls: LmCalls = None,
    seconds: Seconds = None,
    max_errors: MaxErrors = None,
    shown: Shown = 3,
    async_: Async = False,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """Score a program of kind dspy on examples."""
    options = _options(lm, concurrency, lm_calls, seconds, max_errors, shown)
    with connected(url, pool) as client:
        program = _prepared(client, target)
        dataset = _read(examples, _Fields.of(client, program, metric))
        _follow(
            client.evaluate(program, dataset, _metric(metric, field), **options),
            output,
            async_=async_,
        )


def optimize(
    target: Target,
    trainset: Data,
    valset: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Examples to score it on. Default: the same."),
    ] = None,
    optimizer: Annotated[
        str,
        typer.Option(
            "--optimizer",
            metavar="NAME|JSON",
            help="BootstrapFewShot, MIPROv2, GEPA; or an object of its name and arguments.",
        ),
    ] = "BootstrapFewShot",
    metric: MetricOption = "exact-match",
    field: FieldOption = None,
    lm: Lm = None,
    concurrency: Concurrency = None,
    lm_calls: LmCalls = None,
    seconds: Seconds = None,
    max_errors: MaxErrors = None,
    shown: Shown = 0,
    async_: Async = False,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """Look for demos or instructions that make a program of kind dspy better.

    What is found is its next revision, unless the score is lower.
    """
    options = _options(lm, concurrency, lm_calls, seconds, max_errors, shown)
    with connected(url, pool) as client:
        program = _prepared(client, target)
        chosen = _optimizer(optimizer)
        fields = _Fields.of(client, program, metric)
        job = client.optimize(
            program,
            chosen,
            _read(trainset, fields),
            _metric(metric, field),
            valset=None if valset is None else _read(valset, fields),
            **options,
        )
        _follow(job, output, async_=async_)


def _options(
    lm: str | None,
    concurrency: int | None,
    lm_calls: int | None,
    seconds: float | None,
    max_errors: int | None,
    shown: int,
) -> "TaskArguments":
    budget = {"lmCalls": lm_calls, "seconds": seconds}
    given = {
        "lm": lm,
        "concurrency": concurrency,
        "budget": {name: value for name, value in budget.items() if value is not None} or None,
        "max_errors": max_errors,
        "shown": shown,
    }
    return {name: value for name, value in given.items() if value is not None}  # type: ignore[return-value]


def _prepared(client: "Client", target: str) -> str:
    from anypod.cli.run import prepare
    from anypod.cli.waiting import waiting

    with waiting(f"preparing {target}"):
        return prepare(client, target, None, None)


def _optimizer(given: str) -> str | dict[str, Any]:
    """Raises Usage."""
    if not given.startswith("{"):
        return given
    try:
        found: dict[str, Any] = json.loads(given)
    except ValueError as wrong:
        raise Usage(f"--optimizer is not JSON: {wrong}") from None
    return found


def _metric(given: str, field: str | None) -> "Metric":
    """Raises Usage."""
    if not given.endswith(".py"):
        return {"name": given} if field is None else {"name": given, "field": field}
    if field is not None:
        raise Usage("--field is for named metrics")
    try:
        return {"source": Path(given).read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as reason:
        raise Usage(f"{given} cannot be read: {reason}") from None


# examples


@dataclass(frozen=True, slots=True)
class _Fields:
    """Of a program, by which examples are read."""

    schema: Mapping[str, Any]
    inputs: Set[str]
    must_fit: Set[str]

    @classmethod
    def of(cls, client: "Client", program: str, metric: str) -> "_Fields":
        name, _, pinned = program.partition("@")
        document = client.programs.get(name)
        takes = document.inputs_schema or {}
        gives = {} if pinned else document.outputs_schema or {}
        inputs, outputs = _properties(takes), _properties(gives)
        schema = {
            "properties": {**outputs, **inputs},
            "$defs": {**gives.get("$defs", {}), **takes.get("$defs", {})},
        }
        # Another metric may compare an output with something else than a right value of it.
        must_fit = {*inputs, *(outputs if metric == "exact-match" else ())}
        return cls(schema, inputs.keys(), must_fit)


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of an object that may be described apart."""
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    found: Mapping[str, Any] = schema.get("$defs", {}).get(name, schema).get("properties", {})
    return found


def _read(path: str, fields: _Fields) -> "list[Example]":
    """Raises Usage."""
    with rows.opened(path) as file:
        lines = rows.read(file, rows.form_of(path, None), fields.schema, fields.must_fit)
        return list(_examples(lines, fields.inputs))


def _examples(lines: Iterator[bytes], names: Set[str]) -> Iterator["Example"]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as wrong:
            raise Usage(f"line {number} is not JSON: {wrong}") from None
        if not isinstance(row, dict):
            raise Usage(f"line {number} is no JSON object")
        yield _example(row, names)


def _example(row: dict[str, Any], names: Set[str]) -> "Example":
    if row.keys() <= {"inputs", "expected"} and "inputs" not in names:
        return row
    inputs = {name: value for name, value in row.items() if name in names}
    return {"inputs": inputs, "expected": {n: v for n, v in row.items() if n not in names}}


# the job


def _follow(job: "Job", output: Format, *, async_: bool) -> None:
    from anypod.cli.run import show_answer, show_job

    whole = output is Format.JSON
    if async_:
        show_job(job, whole=whole)
        return
    try:
        for event in job.events():
            if event.kind == "progress" and sys.stderr.isatty():
                typer.echo(f"\r\x1b[K{_told(event.data)}", nl=False, err=True)
    except KeyboardInterrupt:  # whoever breaks it off wants it to end
        job.cancel()
        raise
    finally:
        if sys.stderr.isatty():
            typer.echo("\r\x1b[K", nl=False, err=True)
    answer = job.result()
    show_answer(answer, whole=whole)
    found = answer.outputs
    if reason := found.get("reason"):
        typer.echo(f"the program stays as it is: {reason}", err=True)


def _told(progress: dict[str, Any]) -> str:
    from anypod.cli.tables import text

    told = f"{progress['done']:g}/{progress.get('total') or 0:g} {progress.get('message', '')}"
    return text(told)
