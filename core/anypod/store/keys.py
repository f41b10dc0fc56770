"""Where everything lies in the store: the only place that builds or parses keys.

Under ``watched/`` is what gateways keep in memory, small and complete; the large things, which
they read when they need them, lie beside it. ``changes`` lies in the watched part too, so that
whoever has seen a version of it on the watch has seen everything before it.
"""

import re
from dataclasses import dataclass

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SESSION = re.compile(r"[A-Za-z0-9._~:@-]{1,128}")
_REVISION = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"[0-9a-f]{16,64}")
_JOB = re.compile(r"j-[0-9a-f]{32}")


class InvalidName(ValueError):
    """What was given cannot be the name of such a thing."""


def _checked(pattern: re.Pattern[str], text: str, what: str) -> str:
    if pattern.fullmatch(text) is None:
        raise InvalidName(f"not {what}: {text!r}")
    return text


def program_id(text: str) -> str:
    """The same text. Raises InvalidName."""
    return _checked(_PROGRAM, text, "a program's id")


def session_key(text: str) -> str:
    """The same text. Raises InvalidName."""
    return _checked(_SESSION, text, "a session's key")


def revision_name(text: str) -> str:
    """The same text. Raises InvalidName."""
    return _checked(_REVISION, text, "a revision")


@dataclass(frozen=True, slots=True)
class ProgramKeys:
    """Where the programs of one owner lie: of a pool, or of a session."""

    heads: str
    histories: str
    blobs: str

    def head(self, program: str) -> str:
        return self.heads + program_id(program)

    def history(self, program: str) -> str:
        return self.histories + program_id(program)

    def revisions(self, program: str) -> str:
        """The prefix of all revisions of one program."""
        return f"{self.blobs}{program_id(program)}/"

    def revision(self, program: str, revision: str) -> str:
        return self.revisions(program) + revision_name(revision)


@dataclass(frozen=True, slots=True)
class JobKeys:
    """Where the jobs of a pool lie."""

    watched: str
    """The prefix of what is known of the open ones, at every gateway."""
    root: str
    deliveries: str
    """The prefix of what is known of the ends that are still to be told, at every gateway."""

    @property
    def records(self) -> str:
        """The prefix of all records, in the order of a list."""
        return self.root + "records/"

    def open(self, job: str) -> str:
        return f"{self.watched}open/{_job(job)}"

    def claim(self, job: str) -> str:
        return f"{self.watched}claims/{_job(job)}"

    def slot(self, number: int) -> str:
        """Of as many as there may be jobs that run at once."""
        return f"{self.watched}slots/{number}"

    def cancel(self, job: str) -> str:
        """There while a running job is to be cancelled."""
        return f"{self.watched}cancels/{_job(job)}"

    def pause(self, job: str) -> str:
        """There from an attempt that failed to the beginning of the next."""
        return f"{self.watched}pauses/{_job(job)}"

    def progress(self, job: str) -> str:
        return f"{self.watched}progress/{_job(job)}"

    def delivery(self, job: str) -> str:
        """There until the job's end is told, or given up."""
        return f"{self.deliveries}open/{_job(job)}"

    def delivery_claim(self, job: str) -> str:
        return f"{self.deliveries}claims/{_job(job)}"

    def record(self, job: str) -> str:
        return self.records + _job(job)

    def inputs(self, job: str) -> str:
        return f"{self.root}inputs/{_job(job)}"

    def code(self, job: str) -> str:
        return f"{self.root}codes/{_job(job)}"

    def result(self, job: str) -> str:
        return f"{self.root}results/{_job(job)}"

    def printed(self, job: str) -> str:
        return f"{self.root}printed/{_job(job)}"


def _job(text: str) -> str:
    return _checked(_JOB, text, "a job's id")


class PoolKeys:
    """The keys of one pool in one namespace. Raises InvalidName for names that are not ones."""

    def __init__(self, namespace: str, pool: str) -> None:
        _checked(_LABEL, namespace, "a namespace")
        _checked(_LABEL, pool, "a pool's name")
        self.pool = pool
        self._root = f"/anypod/v1/{namespace}/{pool}/"
        self.watched = self._root + "watched/"
        self.changes = self.watched + "changes"
        self.pins = self.watched + "sessions/"
        self.session_heads = self.watched + "session-heads/"
        self.programs = ProgramKeys(
            heads=self.watched + "heads/",
            histories=self._root + "histories/",
            blobs=self._root + "revisions/",
        )
        self.jobs = JobKeys(
            watched=self.watched + "jobs/",
            root=self._root + "jobs/",
            deliveries=self.watched + "deliveries/",
        )

    def pin(self, session: str) -> str:
        return self.pins + session_key(session)

    def state(self, session: str) -> str:
        return f"{self._root}session-states/{session_key(session)}"

    def session_lm(self, session: str) -> str:
        return f"{self._root}session-lms/{session_key(session)}"

    def once(self, digest: str) -> str:
        """Of a run that is to happen once, by the digest of its key."""
        return f"{self._root}once/{_checked(_DIGEST, digest, 'a digest')}"

    def once_owner(self, owner: str) -> str:
        return f"{self._root}once-owners/{_checked(_DIGEST, owner, 'an owner')}"

    def session_programs(self, session: str) -> ProgramKeys:
        key = session_key(session)
        return ProgramKeys(
            heads=f"{self.session_heads}{key}/",
            histories=f"{self._root}session-histories/{key}/",
            blobs=f"{self._root}session-revisions/{key}/",
        )
