"""SIGINT as the way to end an execution: raised in sync code, a cancel in async code.

One execution runs at a time, in the main thread, which is where Python runs signal handlers; so
the state here is that of the process. An interrupt raises once per execution: what follows a
raise is our own clean-up, which a second one must not tear. A program that swallows it is killed
by the supervisor after the grace.

A signal can come just before a system call that then blocks, and is noticed when that ends: so the
supervisor sends it again. More of them do no more than one.
"""

import asyncio
import inspect
import signal
import sys
from collections.abc import Callable
from enum import Enum
from time import monotonic  # by name: a program may replace them
from types import CodeType, FrameType, TracebackType

_STUBBORN_SECONDS = 0.25
"""How long a task's step may go on after the cancel before the interrupt is raised inside it."""


_LOST_SECONDS = 0.005
_LOOPS_OWN = ("/selectors.py", "/_weakrefset.py", "/heapq.py")


class Interrupted(KeyboardInterrupt):
    """Raised in the program when its time is over; a ``KeyboardInterrupt`` to its handlers."""

    def __init__(self, place: FrameType | None = None) -> None:
        super().__init__()
        self._place = id(place)
        """What was running; only its id, since a reference would be a cycle."""

    def __del__(self) -> None:
        """If what was running has not seen it, as when it came inside C code that drops exceptions,
        it is to come again."""
        entry = self.__traceback__
        while entry is not None:
            if id(entry.tb_frame) == self._place:
                return
            entry = entry.tb_next
        _come_again()


class _Mode(Enum):
    NORMAL = 0
    HELD = 1
    ALLOWED = 2


class Execution:
    """As the context of a with statement: what an interrupt is for. Whoever opens it catches
    ``Interrupted`` around it, since leaving can be interrupted too, and calls ``finish`` there."""

    __slots__ = ("_cancel", "_cancelled", "_pending", "_raised", "interrupted", "mode")

    def __init__(self) -> None:
        self.interrupted = False
        self.mode = _Mode.NORMAL
        self._cancel: Callable[[], object] | None = None
        self._cancelled = 0.0
        self._pending = False
        self._raised = False

    def __enter__(self) -> None:
        global _execution
        _execution = self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        global _execution
        _execution = None

    def cancel_with(self, cancel: Callable[[], object] | None) -> None:
        """How to interrupt what runs next: by this call, or (None) by raising."""
        self._cancel = cancel

    def lose(self) -> None:
        """What was raised did not arrive: it is raised again."""
        self._raised = False
        _hit_again_after(_LOST_SECONDS)

    def switch(self, mode: _Mode) -> None:
        """Change the mode; an interrupt that has waited for this comes now."""
        self.mode = mode
        if self._pending:
            self.hit(inspect.currentframe())

    def hit(self, frame: FrameType | None) -> None:
        """Interrupt now, or when that is safe."""
        self._pending = self.mode is _Mode.HELD
        if self._pending or self._raised:
            return
        if self._cancel is None or self.mode is _Mode.ALLOWED:
            self._raised = True
            raise Interrupted(frame)
        if not self._cancelled:
            self._cancelled = monotonic()
            self._cancel()
            # A step that never awaits does not see the cancel.
            _hit_again_after(_STUBBORN_SECONDS)
        elif _in_a_step(frame) and monotonic() - self._cancelled >= _STUBBORN_SECONDS:
            self._raised = True
            raise Interrupted(frame)


class Steps(Execution):
    """Of many executions that are tasks of one loop. A task is cancelled without a signal; one says
    that a step keeps the others waiting: it is raised in that step."""

    __slots__ = ("_began", "_programs")

    def __init__(self, began: Callable[[], float], *programs: CodeType) -> None:
        """``began``: when the step began that the loop is at; ``programs``: the functions that run
        a program. Nothing is raised in others of their file, which answer for all executions."""
        super().__init__()
        self._began = began
        self._programs = programs

    def switch(self, mode: _Mode) -> None:
        self.mode = mode

    def hit(self, frame: FrameType | None) -> None:
        blocks = monotonic() - self._began() >= _STUBBORN_SECONDS
        if blocks and self.mode is not _Mode.HELD and self._is_the_programs(frame):
            raise Interrupted(frame)

    def _is_the_programs(self, frame: FrameType | None) -> bool:
        file = self._programs[0].co_filename
        ours = next((code for code in _step(frame) if code.co_filename == file), None)
        return _in_a_step(frame) and (ours is None or ours in self._programs)

    def lose(self) -> None:
        """The supervisor asks again, if the step goes on."""


_execution: Execution | None = None


def _on_signal(_number: int, frame: FrameType | None) -> None:
    if _execution is not None:
        _execution.interrupted = True
        _execution.hit(frame)


def _in_a_step(frame: FrameType | None) -> bool:
    """The event loop runs a step of the program, and is not at work itself, where a raise would
    lose what it was about to do."""
    if frame is None or frame.f_code.co_filename.endswith(_LOOPS_OWN):
        return False
    return "/asyncio/" not in frame.f_code.co_filename and bool(_step(frame))


def _step(frame: FrameType | None) -> list[CodeType]:
    """What the event loop's step is at, innermost first; nothing outside of a loop."""
    codes: list[CodeType] = []
    while frame is not None:
        code = frame.f_code
        if code.co_name == "_run" and code.co_filename.endswith("/asyncio/events.py"):
            return codes
        codes.append(code)
        frame = frame.f_back
    return []


def _hit_again_after(seconds: float) -> None:
    """The program's own alarm is given up for this: its time is over."""
    signal.signal(signal.SIGALRM, _on_signal)
    signal.setitimer(signal.ITIMER_REAL, seconds, _STUBBORN_SECONDS)


def _come_again() -> None:
    if _execution is not None:
        _execution.lose()


def _on_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """An interrupt in a finalizer ends there; what else is ignored is printed, as ever."""
    if isinstance(unraisable.exc_value, Interrupted):
        _come_again()
    else:
        sys.__unraisablehook__(unraisable)


def install() -> None:
    """Take SIGINT; it does nothing while nothing runs."""
    signal.signal(signal.SIGINT, _on_signal)
    sys.unraisablehook = _on_unraisable


def finish() -> None:
    """Nothing runs any more, even if leaving the execution was interrupted."""
    global _execution
    _execution = None


def interrupted() -> bool:
    """Whether what runs now has been interrupted."""
    return _execution is not None and _execution.interrupted


def was_cancelled(error: BaseException) -> bool:
    """The error is the cancel of an interrupt, on its way out of an event loop."""
    return interrupted() and isinstance(error, asyncio.CancelledError)


def cancel_with(cancel: Callable[[], object] | None) -> None:
    """How to interrupt what runs next: by this call, or (None) by raising."""
    if _execution is not None:
        _execution.cancel_with(cancel)


class _Within:
    """A mode inside a with statement. If entering raises, what was before comes back all the same:
    the one around this restores its own."""

    __slots__ = ("_before",)
    _mode: _Mode

    def __enter__(self) -> None:
        self._before = _Mode.NORMAL
        if _execution is not None:
            self._before = _execution.mode
            _execution.switch(self._mode)

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if _execution is not None:
            _execution.switch(self._before)


class held(_Within):  # noqa: N801 - reads as a word of the with statement
    """Inside, an interrupt waits; it comes when this ends."""

    __slots__ = ()
    _mode = _Mode.HELD


class allowed(_Within):  # noqa: N801
    """Inside ``held``, as where ``emit`` waits for room: here an interrupt raises ``Interrupted``
    at once, in async programs too."""

    __slots__ = ()
    _mode = _Mode.ALLOWED
