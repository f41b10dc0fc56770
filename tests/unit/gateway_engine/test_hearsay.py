"""When a gateway that the store does not answer is ready."""

import math

import pytest

from anypod.store.pool_watch import Knowledge
from anypod.wire.messages import Saw
from anypod_gateway.hearsay import BELIEVED_SECONDS, Hearsay, why_left_behind

NOW = 1000.0
LATELY = NOW - 1


def told(*others: Saw, came: float = LATELY) -> Hearsay:
    return Hearsay(came, list(others))


@pytest.mark.parametrize(
    ("own", "heard", "why"),
    [
        (Knowledge(9, 5, 5), [], None),
        (Knowledge(11, 5, 5), [], "no worker says"),
        (Knowledge(11, 5, 5), [None], "no worker says"),
        (Knowledge(math.inf, 0, 0), [None], "has not answered, and no worker"),
        (Knowledge(11, 5, 5), [told(came=NOW - BELIEVED_SECONDS - 1)], "no worker says"),
        (Knowledge(11, 5, 5), [told()], None),
        (Knowledge(3600, 5, 5), [told(), None], None),
        (Knowledge(11, 5, 5), [told(Saw(9, 5))], None),
        (Knowledge(11, 5, 5), [told(Saw(6, 5))], "other gateways"),
        (Knowledge(11, 5, 5), [told(), told(Saw(6, 5))], "other gateways"),
        (Knowledge(11, 5, 5), [told(Saw(11, 6))], "other gateways"),
        (Knowledge(11, 5, 6), [told(Saw(11, 6))], None),
        (Knowledge(11, 6, 5), [told()], "had not told all"),
        # Before a restore the store was further; whoever said that is gone, or says another thing.
        (Knowledge(11, 5, 5), [told(Saw(600, 99))], None),
    ],
)
def test_it_is_while_nobody_can_know_more(
    own: Knowledge, heard: list[Hearsay | None], why: str | None
) -> None:
    found = why_left_behind(own, heard, NOW)
    assert found is None if why is None else why in str(found)
