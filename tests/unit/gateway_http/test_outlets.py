"""What a batch has for its reader: in order or as it comes, and no more than is read."""

import asyncio
from contextlib import aclosing

from hypothesis import given
from hypothesis import strategies as st

from anypod_gateway import outlets
from anypod_gateway.outlets import Outlet


async def read(outlet: Outlet) -> bytes:
    async with asyncio.timeout(10), aclosing(outlet.pieces(60)) as pieces:
        return b"".join([piece async for piece in pieces])


@given(st.permutations(range(6)), st.booleans())
def test_answers_are_read_in_order_or_as_they_came(order: list[int], ordered: bool) -> None:
    async def told() -> bytes:
        outlet = Outlet(ordered=ordered, at_once=lambda: 100)
        turns = [outlet.enter() for _ in order]
        for number in order:
            outlet.put(turns[number], b"%d" % number)
        outlet.end()
        return await read(outlet)

    expected = sorted(order) if ordered else order
    assert asyncio.run(told()) == b"".join(b"%d" % number for number in expected)


async def test_an_answer_waits_for_those_before_it() -> None:
    outlet = Outlet(ordered=True, at_once=lambda: 100)
    first, second = outlet.enter(), outlet.enter()
    async with asyncio.timeout(10), aclosing(outlet.pieces(0.001)) as pieces:
        outlet.put(second, b"second")
        assert await anext(pieces) == b"\n"  # nothing to tell yet
        outlet.put(first, b"first,")
        assert await anext(pieces) in {b"\n", b"first,second"}


async def test_there_is_room_again_when_an_item_has_ended() -> None:
    outlet = Outlet(ordered=True, at_once=lambda: 1)
    await outlet.room()
    turn = outlet.enter()
    waiting = asyncio.ensure_future(outlet.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    outlet.put(turn, b"x")
    await asyncio.wait_for(waiting, 10)


async def test_there_is_no_room_until_much_that_is_unread_has_been_read() -> None:
    outlet = Outlet(ordered=True, at_once=lambda: 100)
    outlet.put(outlet.enter(), b"x" * outlets.MOST_BYTES)
    waiting = asyncio.ensure_future(outlet.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    async with aclosing(outlet.pieces(60)) as pieces:
        await anext(pieces)
        await asyncio.wait_for(waiting, 10)
