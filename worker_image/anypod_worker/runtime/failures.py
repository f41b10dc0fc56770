"""Exceptions of a program as data: what was raised, where in its own files, never a pickle.

Whatever is asked of an exception may fail, since its class is the program's; and everything that
leaves is bounded, and text that can be sent (unpaired surrogates cannot).
"""

import traceback
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType

from anypod.wire.messages import Failure
from anypod_worker.runtime import cutting
from anypod_worker.runtime.interrupts import Interrupted

STOPPED = Failure(type="deadline-exceeded", detail="it was stopped before it began")

MAX_MESSAGE = 4 * 1024
MAX_TRACEBACK = 16 * 1024
_EDGE_FRAMES = 20
"""Frames kept at each end of a deep traceback."""
_MAX_CHAIN = 5
_MAX_GROUP = 10
_MAX_GROUP_DEPTH = 4


class Known(Exception):
    """An end that is no exception of the program: ``failure`` is what the caller is told."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


def clean(text: str, limit: int = MAX_MESSAGE) -> str:
    """Text that can be sent, cut in its middle above the limit."""
    return cutting.ends(text, limit).encode("utf-8", "backslashreplace").decode("utf-8")


def message_of(error: BaseException) -> str:
    """``str(error)``, whatever that does."""
    try:
        return clean(str(error))
    except Interrupted:
        raise
    except BaseException as second:  # noqa: BLE001 - the program's own __str__
        return f"<no message: __str__ raised {type(second).__name__}>"


def name_of(error: BaseException) -> str:
    return clean(type(error).__name__, 200)


def describe(error: BaseException) -> str:
    """Class and message in one line, as Python ends a traceback."""
    message = message_of(error)
    return f"{name_of(error)}: {message}" if message else name_of(error)


def own_frames(error: BaseException, directory: Path) -> Iterator[TracebackType]:
    prefix = f"{directory}/"
    entry = error.__traceback__
    while entry is not None:
        if entry.tb_frame.f_code.co_filename.startswith(prefix):
            yield entry
        entry = entry.tb_next


def own_line(error: BaseException, directory: Path) -> int | None:
    """The line of the program that was running, innermost."""
    line = None
    for entry in own_frames(error, directory):
        line = entry.tb_lineno
    return line


def _summary(entry: TracebackType, directory: Path) -> traceback.FrameSummary:
    code = entry.tb_frame.f_code
    position = next(islice(code.co_positions(), entry.tb_lasti // 2, None), (None,) * 4)
    _, end_lineno, colno, end_colno = position
    summary = traceback.FrameSummary(
        code.co_filename,
        entry.tb_lineno,
        code.co_name,
        end_lineno=end_lineno,
        colno=colno,
        end_colno=end_colno,
    )
    _ = summary.line  # read while the name still leads to the file
    summary.filename = code.co_filename.removeprefix(f"{directory}/")
    return summary


def _frames(error: BaseException, directory: Path) -> list[str]:
    head: list[TracebackType] = []
    tail: deque[TracebackType] = deque(maxlen=_EDGE_FRAMES)
    count = 0
    for count, entry in enumerate(own_frames(error, directory), start=1):
        if count <= _EDGE_FRAMES:
            head.append(entry)
        else:
            tail.append(entry)
    lines = traceback.StackSummary.from_list([_summary(each, directory) for each in head]).format()
    left_out = count - len(head) - len(tail)
    if left_out:
        lines.append(f"  [... {left_out} frames ...]\n")
    lines += traceback.StackSummary.from_list([_summary(each, directory) for each in tail]).format()
    return ["Traceback (most recent call last):\n", *lines] if lines else []


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", None)
    if not isinstance(notes, list):
        return []
    return [f"{clean(note, 1024)}\n" for note in notes[:10] if isinstance(note, str)]


def _members(error: BaseException, directory: Path, depth: int) -> list[str]:
    if not isinstance(error, BaseExceptionGroup) or depth >= _MAX_GROUP_DEPTH:
        return []
    lines: list[str] = []
    for number, member in enumerate(error.exceptions[:_MAX_GROUP], start=1):
        lines.append(f"  +---------------- {number} ----------------\n")
        text = "".join(_one(member, directory, depth + 1))
        lines += [f"  | {line}\n" for line in text.splitlines()]
    if len(error.exceptions) > _MAX_GROUP:
        lines.append(f"  | [... {len(error.exceptions) - _MAX_GROUP} more ...]\n")
    return lines


def _one(error: BaseException, directory: Path, depth: int = 0) -> list[str]:
    return [
        *_frames(error, directory),
        f"{describe(error)}\n",
        *_notes(error),
        *_members(error, directory, depth),
    ]


def _before(error: BaseException) -> tuple[BaseException | None, str]:
    """What the exception came from, and the words that Python puts between the two."""
    if error.__cause__ is not None:
        return error.__cause__, "The above exception was the direct cause of the following one:"
    if error.__context__ is not None and not error.__suppress_context__:
        return error.__context__, "During handling of the above exception, another occurred:"
    return None, ""


def traceback_of(error: BaseException, directory: Path) -> str:
    """As Python prints it, with the program's own frames only, paths inside the program, and the
    nearest few of the chain that led to it."""
    parts = ["".join(_one(error, directory))]
    seen = {id(error)}
    current: BaseException | None
    current, words = _before(error)
    while current is not None and id(current) not in seen:
        if len(parts) > _MAX_CHAIN:
            parts.append("[... earlier exceptions ...]\n")
            break
        parts.append("".join(_one(current, directory)) + f"\n{words}\n\n")
        seen.add(id(current))
        current, words = _before(current)
    return clean("".join(reversed(parts)), MAX_TRACEBACK)


def _exited(error: SystemExit, directory: Path) -> Failure:
    code = error.code
    if code is None:
        status, said = 0, ""
    elif isinstance(code, int):
        status, said = int(code) & 0xFF, ""
    else:
        status, said = 1, message_of(error)
    return Failure(
        type="program-exited",
        detail=f"the program called sys.exit: exit code {status}{said and ', ' + said}",
        exception="SystemExit",
        message=said or None,
        traceback=traceback_of(error, directory),
        exit_code=status,
    )


def _described(error: BaseException, directory: Path) -> Failure:
    if isinstance(error, SystemExit):
        return _exited(error, directory)
    if isinstance(error, MemoryError):
        type_, detail = "out-of-memory", "the program needs more than limits.memory of the pool"
    else:
        type_, detail = "program-error", describe(error)
    return Failure(
        type=type_,
        detail=detail,
        exception=name_of(error),
        message=message_of(error),
        traceback=traceback_of(error, directory),
    )


def of_exception(error: BaseException, directory: Path) -> Failure:
    """The failure of an execution whose program raised this."""
    try:
        return _described(error, directory)
    except (Interrupted, MemoryError):
        raise
    except BaseException:  # noqa: BLE001 - the exception's own properties, or its metaclass
        detail = "the program raised an exception that cannot be described"
        return Failure(type="program-error", detail=detail)


def where(error: BaseException, directory: Path) -> str | None:
    """The program's frames only: for an interrupt, after which no code of the program may run, not
    even the ``__str__`` of an exception that was being handled."""
    return clean("".join(_frames(error, directory)), MAX_TRACEBACK) or None


def of_interrupt(error: BaseException, directory: Path) -> Failure:
    """The failure of an execution that was told to stop; the traceback says where it was."""
    return Failure(
        type="deadline-exceeded",
        detail="the execution did not end in time and was interrupted",
        traceback=where(error, directory),
    )
