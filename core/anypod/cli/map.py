"""``anypod map``: run a program on each line or row of a file, and print a line for each.

Every batch has a key, under which gateways keep the answers: whoever runs it again with that key
gets those that are there, so that an interrupted run goes on where it was, and prints the same.
"""

import secrets
import shlex
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from anypod.api import idempotency
from anypod.cli import printed, rows, run
from anypod.cli.endings import endings_raised
from anypod.cli.exits import REFUSED, ItemsFailed, Usage, code_of
from anypod.cli.options import connected
from anypod.cli.progress import Progress
from anypod.cli.waiting import waiting
from anypod.printable import escaped

if TYPE_CHECKING:
    from anypod.cli.rows import Form
    from anypod.client import Item

MOST_TOLD = 20
"""Failures that are told one by one."""
FLUSH_SECONDS = 0.2


def map_(
    target: str,
    path: str,
    *,
    url: str,
    pool: str,
    id_: str | None,
    entrypoint: str | None,
    session: str | None,
    timeout: float | None,
    lm: str | None,
    logs: bool,
    form: "Form | None",
    concurrency: int | None,
    ordered: bool,
    key: str | None,
    whole: bool,
) -> None:
    form = rows.form_of(path, form)
    key = _checked(secrets.token_hex(6) if key is None else key)
    options = run.options_of(session, timeout, lm, logs=logs, key=key)
    with rows.opened(path) as file, connected(url, pool, session=session) as client:
        with waiting(f"preparing {target}"):
            program = run.prepare(client, target, id_, entrypoint)
            schema = run.inputs_schema(client, program) if form is rows.Form.CSV else None
        total = rows.count(path, form) if sys.stderr.isatty() else None
        with endings_raised(), Progress(program, total) as progress:
            results = Results(progress, "row" if form is rows.Form.CSV else "line", whole=whole)
            items = client.map(
                program,
                results.noticed(rows.read(file, form, schema)),
                ordered=ordered,
                concurrency=concurrency,
                return_exceptions=True,
                **options,
            )
            try:
                for item in items:
                    results.add(item)
                sys.stdout.flush()
            except BaseException as why:
                results.broke_off(key, why)  # first: what follows may take a while
                items.close()
                raise
    results.check(key)


def _checked(key: str) -> str:
    try:
        return key and idempotency.key_of(idempotency.header_of(key))
    except idempotency.BadKey as bad:
        raise Usage(f"--key: {bad}") from None


class Results:
    def __init__(self, progress: Progress, unit: str, *, whole: bool) -> None:
        self._progress = progress
        self._unit = unit
        self._whole = whole
        self._for_people = sys.stdout.isatty()
        self._sent = False
        self._done = 0
        self._failed = 0
        self._codes: set[int] = set()
        self._flushed = 0.0

    def noticed(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """The same lines: one that is asked for is sent."""
        for line in lines:
            self._sent = True
            yield line

    def add(self, item: "Item") -> None:
        from anypod.client.calls import encode

        self._done += 1
        if not self._whole:
            self._show_logs(item)
        if item.error is not None:
            self._tell(item)
        record = encode(_record(item) if self._whole else item.outputs)
        if self._for_people:
            record = escaped(record.decode()).encode()
        sys.stdout.buffer.write(record + b"\n")
        now = time.monotonic()
        if now - self._flushed > FLUSH_SECONDS:
            sys.stdout.flush()
            self._flushed = now
        self._progress.step(failed=item.error is not None)

    def _tell(self, item: "Item") -> None:
        assert item.error is not None
        self._failed += 1
        self._codes.add(code_of(item.error.problem))
        if self._failed <= MOST_TOLD:
            self._progress.say(f"{self._unit} {item.index + 1}: {item.error}")
        if self._failed == MOST_TOLD:
            self._progress.say("(more that fail are only counted)")

    def _show_logs(self, item: "Item") -> None:
        import msgspec

        of_execution = item.execution and msgspec.to_builtins(item.execution.logs)
        logs = item.error.problem.logs if item.error else of_execution
        for line in printed.lines(logs or {}):
            self._progress.say(f"{self._unit} {item.index + 1}: {line}")

    def broke_off(self, key: str, why: BaseException) -> None:
        """What is under way runs to its end, and only who has the key gets its answers."""
        if not self._sent or (self._done == 0 and _is_refusal(why)):
            return
        after = f"after {self._done} items, of which {self._failed} failed"
        self._progress.say(f"it broke off {after if self._done else 'before the first answer'}")
        if key:
            self._progress.say(
                f"  to go on where it was, give the same command --key {shlex.quote(key)}:"
                " what has an answer is not run again"
            )

    def check(self, key: str) -> None:
        """Raises ItemsFailed."""
        if self._failed:
            again = (
                f"; with --key {shlex.quote(key)} only what may go well now runs again"
                if key
                else ""
            )
            raise ItemsFailed(
                f"{self._failed} of {self._done} items failed{again}", min(self._codes)
            )


def _is_refusal(why: BaseException) -> bool:
    """Of the whole batch, of which nothing ran then."""
    from anypod.api.problems import AnyPodError

    return isinstance(why, AnyPodError) and code_of(why.problem) == REFUSED


def _record(item: "Item") -> dict[str, Any]:
    import msgspec

    if item.error is not None:
        return {"index": item.index, "problem": msgspec.to_builtins(item.error.problem)}
    execution = msgspec.to_builtins(item.execution)
    return {"index": item.index, "outputs": item.outputs, "execution": execution}
