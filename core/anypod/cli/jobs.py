"""``anypod jobs ...``, and ``anypod run --async``."""

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anypod.cli.exits import PROGRAM_FAILED, REFUSED, UNAVAILABLE, Usage, each
from anypod.cli.options import (
    DEFAULT_POOL,
    DEFAULT_URL,
    Format,
    Labels,
    Output,
    Pool,
    Url,
    Whole,
    complete_job,
    connected,
    group,
    labels_of,
)

if TYPE_CHECKING:
    from anypod.client import JobEvent
    from anypod.client.job_calls import JobArguments, JobFilter

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job.", autocompletion=complete_job)]
JobIds = Annotated[
    list[str], typer.Argument(metavar="ID...", help="Jobs.", autocompletion=complete_job)
]

_CODES = {"failed": PROGRAM_FAILED, "cancelled": REFUSED, "lost": UNAVAILABLE}


def make() -> typer.Typer:
    return group(
        "jobs",
        "List, show, follow, cancel, delete jobs; their results.",
        list=_list_jobs,
        get=_get_job,
        result=_get_result,
        logs=_get_logs,
        watch=_watch_job,
        cancel=_cancel_jobs,
        delete=_delete_jobs,
    )


def arguments(**given: Any) -> "JobArguments":
    """Those that were given."""
    return {name: value for name, value in given.items() if value is not None}  # type: ignore[return-value]


def time_of(text: str) -> datetime:
    """With the zone of this machine, if none is said. Raises Usage."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise Usage(f"{text!r} is no time, such as 2030-01-31T18:00") from None


def _list_jobs(
    state: Annotated[str | None, typer.Option(help="Only those in it.")] = None,
    program: Annotated[str | None, typer.Option(help="Only runs of it.")] = None,
    session: Annotated[str | None, typer.Option(help="Only those of it.", metavar="KEY")] = None,
    label: Labels = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """List jobs, the latest first."""
    from itertools import islice

    from anypod.cli.tables import show_all

    named = {"state": state, "program": program, "session": session, "labels": labels_of(label)}
    wanted: JobFilter = {name: value for name, value in named.items() if value}  # type: ignore[assignment]
    with connected(url, pool) as client:
        show_all(
            islice(client.jobs.list(**wanted), limit),
            output,
            {
                "ID": "id",
                "PROGRAM": "program",
                "STATE": "state",
                "ATTEMPTS": "attempts",
                "PROGRESS": lambda job: _progress(job.progress and job.progress.model_dump()),
                "CREATED": "created_at",
                "ENDED": "finished_at",
            },
        )


def _get_job(
    job: JobId, output: Output = Format.TABLE, pool: Pool = DEFAULT_POOL, url: Url = DEFAULT_URL
) -> None:
    """Show a job."""
    from anypod.cli.tables import asking, show_one

    with connected(url, pool) as client, asking():
        document = client.job(job).get()
    show_one(document, output)


def _get_result(
    job: JobId,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended.")] = False,
    json_: Whole = False,
    output: Output = Format.TABLE,
    pool: Pool = DEFAULT_POOL,
    url: Url = DEFAULT_URL,
) -> None:
    """Print what a job gave, as 'anypod run' does; fails as that would have failed."""
    from anypod.cli.run import show_answer
    from anypod.cli.waiting import waiting

    with connected(url, pool) as client, waiting(f"waiting for {job}"):
        answer = client.job(job).result(timeout=None if wait else 0)
    show_answer(answer, whole=json_ or output is Format.JSON)


def _get_logs(
    job: JobId, output: Output = Format.TABLE, pool: Pool = DEFAULT_POOL, url: Url = DEFAULT_URL
) -> None:
    """Print what a job printed: on stdout, and on stderr."""
    from msgspec import to_builtins

    from anypod.cli import printed
    from anypod.cli.tables import asking, show_json

    with connected(url, pool) as client, asking():
        logs = client.job(job).logs()
    if output is Format.JSON:
        show_json(to_builtins(logs))
        return
    printed.copy(logs.stdout, sys.stdout)
    printed.copy(logs.stderr, sys.stderr)
    if logs.cut_bytes:
        typer.echo(f"({logs.cut_bytes} bytes more were printed, and dropped)", err=True)


def _watch_job(
    job: JobId, output: Output = Format.TABLE, pool: Pool = DEFAULT_POOL, url: Url = DEFAULT_URL
) -> None:
    """Print what happens to a job, until it has ended. Exits as it ended."""
    state = ""
    with connected(url, pool) as client:
        for event in client.job(job).events():
            _show(event, output)
            state = event.data["state"] if event.kind == "state" else state
    if state in _CODES:
        raise typer.Exit(_CODES[state])


def _show(event: "JobEvent", output: Format) -> None:
    import json

    from anypod.cli.tables import text

    if output is Format.JSON:
        typer.echo(json.dumps({"event": event.kind, **event.data}))
    elif event.kind == "progress":
        typer.echo(f"progress   {text(_progress(event.data))}")
    else:
        why = f"   {text(event.data['problem'])}" if "problem" in event.data else ""
        typer.echo(f"{event.data['state']}{why}")


def _progress(progress: Any) -> str | None:
    if progress is None:
        return None
    total = progress.get("total")
    done = f"{progress['done']:g}" + (f"/{total:g}" if total is not None else "")
    return " ".join(filter(None, (done, progress.get("message"))))


def _cancel_jobs(
    jobs: JobIds, output: Output = Format.TABLE, pool: Pool = DEFAULT_POOL, url: Url = DEFAULT_URL
) -> None:
    """Cancel jobs: what runs is interrupted, then killed."""
    from anypod.cli.tables import asking, told

    with connected(url, pool) as client:

        def cancel(job: str) -> None:
            with asking():
                found = client.job(job).cancel()
            state = "being cancelled" if found.state in ("queued", "running") else found.state
            document = found.model_dump(mode="json", by_alias=True)
            told(f"job {job} is {state}", output, **document)

        each(jobs, cancel)


def _delete_jobs(
    jobs: JobIds, output: Output = Format.TABLE, pool: Pool = DEFAULT_POOL, url: Url = DEFAULT_URL
) -> None:
    """Delete jobs that have ended."""
    from anypod.cli.tables import asking, told

    with connected(url, pool) as client:

        def delete(job: str) -> None:
            with asking():
                client.job(job).delete()
            told(f"job {job} is deleted", output, job=job, deleted=True)

        each(jobs, delete)
