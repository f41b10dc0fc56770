"""What an executor says that its program asked of an LM is believed as far as it can be."""

import math
from dataclasses import dataclass, field

import pytest

from anypod.wire.config import Limits
from anypod.wire.messages import Code, Execute, Failure, Message, Result, Usage
from anypod_worker import frames
from anypod_worker.execution import Execution
from anypod_worker.work import Work

USAGE = Usage("fast", 2, 100, 20, 0.5)
FAILURE = Failure("program-exited", "it is gone")
IMPOSSIBLE = [
    Usage("fast", -1),
    Usage("fast", prompt_tokens=-1),
    Usage("fast", completion_tokens=2**60),
    Usage("fast", cost=math.nan),
    Usage("fast", cost=math.inf),
    Usage("fast", cost=-0.5),
    Usage("x" * 64, 1),
]


@dataclass
class Gateway:
    sent: list[Message] = field(default_factory=list)
    room: int = 2**24

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def ended(self, work: Work) -> None: ...

    def usage(self) -> Usage | None:
        [result] = self.sent
        assert isinstance(result, Result)
        return result.usage


def execution(gateway: Gateway, kind: str = "dspy") -> Execution:
    made = Execution(gateway, Execute("e", "p", "r", b"{}", 30.0), Limits())
    made.code = Code(kind, {}, "main")
    return made


async def test_the_last_word_counts_of_what_comes_to_no_end() -> None:
    gateway = Gateway()
    dies = execution(gateway)
    dies.used(Usage("fast", 1, 50, 10, 0.25))
    dies.used(USAGE)
    dies.fail(FAILURE)
    assert gateway.usage() == USAGE


@pytest.mark.parametrize("said", IMPOSSIBLE, ids=str)
async def test_what_cannot_be_is_not_believed(said: Usage) -> None:
    gateway = Gateway()
    forges = execution(gateway)
    forges.used(USAGE)
    forges.used(said)
    forges.done(frames.Done("e", 0.0, b"1", usage=said))
    assert gateway.usage() == USAGE


async def test_a_program_that_asks_no_lm_has_used_none() -> None:
    gateway = Gateway()
    forges = execution(gateway, "python")
    forges.done(frames.Done("e", 0.0, b"1", usage=USAGE))
    assert gateway.usage() is None
