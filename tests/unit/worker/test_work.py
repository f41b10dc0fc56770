"""What the supervisor answers for work that it has stopped."""

from typing import Any

from anypod.wire.config import Limits
from anypod.wire.messages import Check, Checked, Code, Failure
from anypod_worker import failures, frames
from anypod_worker.work import Checking


class Link:
    room = 2**24

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def ended(self, work: Any) -> None:
        assert work.ended


async def test_a_check_that_is_late_says_what_it_was_at() -> None:
    link = Link()
    check = Check("c", "a" * 64, Code("python", {}, "main:main"), 60.0)
    work = Checking(link, check, Limits())
    work.stop(failures.DEADLINE)
    assert [one.failure.type for one in link.sent] == ["deadline-exceeded"]

    link.sent.clear()
    work = Checking(link, check, Limits())
    work.stopped = failures.DEADLINE
    work.done(frames.Checked("c", Failure("invalid-program", "late", path="tools.0.source")))
    (told,) = link.sent
    assert isinstance(told, Checked)
    assert told.failure == Failure(
        "deadline-exceeded", "the execution did not end within 60 s", path="tools.0.source"
    )
