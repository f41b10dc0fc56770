"""What a worker passes on of the store, between gateways."""

import math

from anypod.wire import codec
from anypod.wire.messages import OthersSaw, StoreSeen
from anypod_worker.hearsay import KEPT, Hearsay


async def test_each_hears_of_the_others_what_they_said_last() -> None:
    hearsay = Hearsay()
    assert hearsay.heard("a", StoreSeen(1.0, 7)).others == []
    hearsay.heard("a", StoreSeen(5.0, 8))
    (said,) = hearsay.heard("b", StoreSeen(0.0, 9)).others
    assert (said.seconds >= 5.0, said.version) == (True, 8)
    (said,) = hearsay.heard("a", StoreSeen(6.0, 8)).others
    assert (said.seconds >= 0.0, said.version) == (True, 9)


async def test_of_very_many_gateways_those_are_kept_that_the_store_answered_last() -> None:
    hearsay = Hearsay()
    for number in range(2 * KEPT):
        hearsay.heard(f"g{number}", StoreSeen(1000.0 - number, number))
    told = hearsay.heard("last", StoreSeen(0.0, 0)).others
    assert sorted(each.version for each in told) == list(range(KEPT + 1, 2 * KEPT))


async def test_one_that_the_store_never_answered_can_be_told_of() -> None:
    hearsay = Hearsay()
    hearsay.heard("a", StoreSeen(math.inf, 0))
    told = hearsay.heard("b", StoreSeen(0.0, 1))
    (back,) = codec.decode_for_gateway(codec.encode([told]))
    assert isinstance(back, OthersSaw)
    assert [each.seconds for each in back.others] == [math.inf]
