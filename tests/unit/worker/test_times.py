"""What an executor says of how long its program ran is believed as far as it can be."""

import math
from typing import Any

import pytest

from anypod.wire.config import Limits
from anypod.wire.messages import Execute, Message, Result
from anypod_worker import frames
from anypod_worker.execution import Execution
from anypod_worker.work import Work


class Gateway:
    room = 2**24

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def ended(self, work: Work) -> None: ...


def result_of(said: float, *, began: float) -> Result:
    """Of an execution that has begun so many seconds after it came; 0: not, as far as is known."""
    gateway = Gateway()
    execution = Execution(gateway, Execute("e", "p", "r", b"{}", 30.0), Limits())
    execution.accepted -= 10.0
    execution.started = execution.accepted + began if began else 0.0
    execution.done(frames.Done("e", said, b"1"))
    [result] = gateway.sent
    assert isinstance(result, Result)
    return result


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (1.5, 1.5),
        (0.0, 0.0),
        (-13195.7, 0.0),
        (math.nan, 0.0),
        (-math.inf, 0.0),
        (3600.0, pytest.approx(6.0, abs=1.0)),
        (math.inf, pytest.approx(6.0, abs=1.0)),
    ],
    ids=str,
)
async def test_no_more_than_has_passed_and_no_less_than_nothing(said: float, told: Any) -> None:
    result = result_of(said, began=4.0)
    assert result.run_seconds == told
    assert result.wait_seconds == pytest.approx(4.0)


async def test_what_has_not_begun_has_waited_and_not_run() -> None:
    result = result_of(1.5, began=0.0)
    assert result.run_seconds == 0.0
    assert result.wait_seconds == pytest.approx(10.0, abs=1.0)
