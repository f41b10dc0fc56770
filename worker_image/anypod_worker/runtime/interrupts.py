"""SIGINT as the way to end an execution: raised in sync code, a cancel in async code."""

from contextlib import AbstractContextManager


class Interrupted(KeyboardInterrupt):
    """Raised in the program when its time is over; a ``KeyboardInterrupt`` to its handlers."""


def install() -> None:
    """Take SIGINT; it does nothing while nothing runs."""
    raise NotImplementedError


def allowed() -> AbstractContextManager[None]:
    """Inside ``emit``: here an interrupt may raise ``Interrupted`` at once."""
    raise NotImplementedError
