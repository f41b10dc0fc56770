"""``anypod run``: create or update a program, run it, print what it gives."""

import json
import sys
from typing import TYPE_CHECKING, Any

from anypod.api.problems import AnyPodError
from anypod.cli import printed, sources, updates, values
from anypod.cli.exits import Usage, document
from anypod.cli.options import Format, connected
from anypod.cli.tables import asking, out, show_json, show_one
from anypod.cli.waiting import Waiting, waiting
from anypod.printable import escaped, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anypod.api.executions import Execution
    from anypod.client import Answer, Client, Job
    from anypod.client.calls import RunArguments
    from anypod.client.job_calls import JobArguments
    from anypod.client.sync import Stream


def run(
    target: str,
    pairs: "Sequence[str]",
    *,
    url: str,
    pool: str,
    id_: str | None,
    entrypoint: str | None,
    concurrency: int | None,
    session: str | None,
    timeout: float | None,
    stream: bool,
    whole: bool,
    lm: str | None,
    logs: bool,
) -> None:
    inputs = values.inputs_of(pairs)
    # Whoever breaks it off wants it to end.
    options = options_of(session, timeout, lm, logs=logs, key="")
    with connected(url, pool, session=session) as client:
        with waiting(f"preparing {target}"):
            program = prepare(client, target, id_, entrypoint, concurrency)
        with waiting(f"running {program}") as spinner:
            if stream:
                try:
                    with client.stream(program, inputs, **options) as events:
                        _follow(events, spinner, whole=whole)
                except AnyPodError as failure:
                    if whole:
                        _line({"event": "problem", **document(failure.problem)})
                    raise
                return
            answer = client.run(program, inputs, **options)
    show_answer(answer, whole=whole)


def options_of(
    session: str | None, timeout: float | None, lm: str | None, *, logs: bool, key: str
) -> "RunArguments":
    """What the client is told of a run or a batch."""
    options: RunArguments = {"logs": logs, "idempotency_key": key}
    if session is not None:
        options["session"] = session
    if timeout is not None:
        options["timeout"] = timeout
    if lm is not None:
        options["lm"] = lm
    return options


def submit(
    target: str,
    pairs: "Sequence[str]",
    given: "JobArguments",
    *,
    url: str,
    pool: str,
    id_: str | None,
    entrypoint: str | None,
    concurrency: int | None,
    whole: bool,
) -> None:
    """Prints the job's id, or the job."""
    inputs = values.inputs_of(pairs)
    with connected(url, pool, session=given.get("session")) as client:
        with waiting(f"submitting {target}"):
            program = prepare(client, target, id_, entrypoint, concurrency)
            job = client.submit(program, inputs, **given)
        show_job(job, whole=whole)


def show_job(job: "Job", *, whole: bool) -> None:
    """Its id, or all of it."""
    if not whole:
        out(job.id)
        return
    with asking():
        found = job.get()
    show_one(found, Format.JSON)


def show_answer(answer: "Answer", *, whole: bool) -> None:
    if whole:
        show_json({"outputs": answer.outputs, "execution": _document(answer.execution)})
    else:
        _show_logs(answer.execution)
        _show(answer.outputs)


def prepare(
    client: "Client",
    target: str,
    id_: str | None,
    entrypoint: str | None,
    concurrency: int | None = None,
) -> str:
    """What to run: the latest revision, which the file is by then."""
    if not sources.is_path(target):
        if (id_, entrypoint, concurrency) != (None, None, None):
            raise Usage(f"{target} is no file; --id, --entrypoint and --concurrency are for files")
        return target
    source = sources.read(target)
    given = source.given
    if entrypoint is not None:
        given["entrypoint"] = entrypoint
    if concurrency is not None:
        given["concurrency"] = concurrency
    return updates.put(client, id_ or source.id, source)


def inputs_schema(client: "Client", program: str) -> "dict[str, Any] | None":
    """Of the latest revision of ``id`` or ``id@revision``."""
    return client.programs.get(program.partition("@")[0]).inputs_schema


def _follow(events: "Stream", spinner: Waiting, *, whole: bool) -> None:
    from anypod.client import Chunk, LogText

    for event in events:
        spinner.stop()
        match event:
            case Chunk() if whole:
                _line({"event": "chunk", "data": event.data})
            case Chunk():
                _show(event.data, indent=None)
            case LogText() if whole:
                _line({"event": "log", "stream": event.stream, "text": event.text})
            case LogText():
                printed.copy(event.text, sys.stderr)
            case _ if whole:
                execution = _document(event.execution)
                _line({"event": "result", "outputs": event.outputs, "execution": execution})
            case _ if event.outputs is not None:
                _show(event.outputs)


def _show(value: Any, indent: int | None = 2) -> None:
    """Text as it is, but to a terminal; anything else as JSON."""
    if not isinstance(value, str):
        text = escaped(json.dumps(value, indent=indent, ensure_ascii=False))
    else:
        text = printable(value) if sys.stdout.isatty() else value
    sys.stdout.buffer.write(text.encode(errors="replace") + b"\n")
    sys.stdout.flush()


def _line(document: dict[str, Any]) -> None:
    out(json.dumps(document))
    sys.stdout.flush()


def _document(execution: "Execution") -> dict[str, Any]:
    import msgspec

    document: dict[str, Any] = msgspec.to_builtins(execution)
    return document


def _show_logs(execution: "Execution") -> None:
    for line in printed.lines(_document(execution).get("logs") or {}):
        print(line, file=sys.stderr)  # noqa: T201
