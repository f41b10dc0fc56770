"""The calls of jobs as data, and how what they answer is read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, TypedDict
from urllib.parse import quote

import msgspec

from anypod.api import webhooks
from anypod.api.executions import Logs
from anypod.api.jobs import OPEN, JobDocument, State
from anypod.client import answers
from anypod.client.answers import Answer, Page
from anypod.client.calls import Api, Call, ExecutionArguments, RunArguments
from anypod.client.errors import TimedOut, UnexpectedAnswer
from anypod.client.events import ServerSentEvent

WAIT_SECONDS = 20.0
"""That a gateway is asked to wait; then it is asked again."""


class JobOptions(TypedDict, total=False):
    """What a job is told beside what is done."""

    priority: int
    """-100 to 100; higher ones go first."""
    not_before: datetime
    """With its zone."""
    max_attempts: int
    """More than 1 for idempotent programs only."""
    labels: Mapping[str, str]
    """To find it by."""
    webhook: str
    """A URL that is told of its end, if the pool has a secret to sign that with."""


class JobArguments(ExecutionArguments, JobOptions, total=False):
    """How a program is to be run while nobody waits."""


class JobFilter(TypedDict, total=False):
    """Which jobs are wanted; those that fit in all."""

    state: State
    program: str
    session: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job."""

    kind: Literal["state", "progress"]
    data: dict[str, Any]
    number: int | None = None
    """Of a state; who follows the job from here on says it."""


@dataclass(frozen=True, slots=True)
class JobApi:
    api: Api

    def submit(
        self, program: str, inputs: Mapping[str, Any] | None, given: JobArguments
    ) -> Call[JobDocument]:
        return as_job(self.api.run(program, inputs, _of_run(given)), given)

    def submit_source(
        self,
        source: str | Mapping[str, str],
        entrypoint: str | None,
        inputs: Mapping[str, Any] | None,
        given: JobArguments,
    ) -> Call[JobDocument]:
        return as_job(self.api.run_source(source, entrypoint, inputs, _of_run(given)), given)

    def list(self, wanted: JobFilter, after: str | None) -> Call[Page[JobDocument]]:
        if unknown := wanted.keys() - JobFilter.__annotations__.keys():
            raise TypeError(f"jobs have no {', '.join(sorted(unknown))} to be found by")
        equal = [(name, str(value)) for name, value in wanted.items() if name != "labels"]
        query = (*equal, *_labels(wanted.get("labels")))
        return self.api.list(f"{self._jobs}", JobDocument, after, query)

    def get(self, job: str, wait: float = 0.0) -> Call[JobDocument]:
        headers = {"Prefer": f"wait={int(wait)}"} if wait >= 1 else {}
        return replace(
            self._get(job, "", answers.document(JobDocument)),
            headers=headers,
            execution_seconds=wait or None,
        )

    def result(self, job: str) -> Call[Answer]:
        return self._get(job, "/result", answers.answer)

    def logs(self, job: str) -> Call[Logs]:
        return self._get(job, "/logs", _logs)

    def events(self, job: str, after: int) -> Call[bytes]:
        call = self._get(job, "/events", bytes)
        return replace(call, headers={"Last-Event-ID": str(after)})

    def cancel(self, job: str) -> Call[JobDocument]:
        read = answers.document(JobDocument)
        return Call("POST", f"{self._job(job)}/cancel", read, repeatable=True)

    def delete(self, job: str) -> Call[None]:
        return Call("DELETE", self._job(job), answers.nothing)

    @property
    def _jobs(self) -> str:
        return f"/v1/pools/{quote(self.api.pool, safe='')}/jobs"

    def _job(self, job: str) -> str:
        return f"{self._jobs}/{quote(job, safe='').replace('.', '%2E')}"

    def _get(self, job: str, path: str, read: Any) -> Call[Any]:
        return Call("GET", self._job(job) + path, read, repeatable=True)


def _of_run(given: JobArguments) -> RunArguments:
    """Raises TypeError for what is only for those who wait."""
    if "logs" in given:
        raise TypeError("what a job prints is always kept: see its logs()")
    own = JobArguments.__annotations__.keys() - ExecutionArguments.__annotations__.keys()
    run: Any = {name: value for name, value in given.items() if name not in own}
    return run  # type: ignore[no-any-return]


def as_job(call: Call[Answer], given: JobOptions) -> Call[JobDocument]:
    query: list[tuple[str, str]] = []
    if "priority" in given:
        query.append(("priority", str(given["priority"])))
    if "not_before" in given:
        query.append(("notBefore", given["not_before"].isoformat()))
    if "max_attempts" in given:
        query.append(("maxAttempts", str(given["max_attempts"])))
    return Call(
        call.method,
        call.path,
        answers.document(JobDocument),
        query=(*query, *_labels(given.get("labels"))),
        headers={**call.headers, "Prefer": "respond-async", **_webhook(given)},
        body=call.body,
        repeatable=call.repeatable,
        keyed=call.keyed,
    )


def _webhook(given: JobOptions) -> dict[str, str]:
    return {webhooks.HEADER: given["webhook"]} if "webhook" in given else {}


def _labels(labels: Mapping[str, str] | None) -> list[tuple[str, str]]:
    return [("label", f"{key}={value}") for key, value in (labels or {}).items()]


def _logs(body: bytes) -> Logs:
    try:
        return msgspec.convert(answers.parse(body), Logs)
    except msgspec.ValidationError as wrong:
        raise UnexpectedAnswer(f"not what a job printed: {wrong}") from None


class Waiting:
    """How long a job is waited for."""

    def __init__(self, job: str, seconds: float | None, clock: Any) -> None:
        self._job = job
        self._seconds = seconds
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds

    def left(self) -> float:
        """Seconds for the next question. Raises TimedOut."""
        if self._end is None:
            return WAIT_SECONDS
        left: float = self._end - self._clock()
        if left <= 0:
            raise TimedOut(f"job {self._job} has not ended within {self._seconds:g} seconds")
        return min(max(left, 1.0), WAIT_SECONDS)


class Following:
    """Reads the events of a job, over as many connections as it takes."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.is_over = False

    def take(self, event: ServerSentEvent) -> JobEvent | None:
        if event.name not in ("state", "progress"):
            return None
        data = answers.parse(event.data)
        number = int(event.id) if event.name == "state" and event.id.isdigit() else None
        if number is not None:
            self.after = number
            self.is_over = data.get("state") not in OPEN
        return JobEvent("state" if event.name == "state" else "progress", data, number)
