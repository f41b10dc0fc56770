"""What answers in the API server's place is an API server that is away, whatever it says."""

import pytest
from tests.support.odd_api import NO_EVENTS, NO_LISTS, ODD_ANSWERS, odd_api

from anypod_gateway.cluster.connection import Api, ApiAway


@pytest.mark.parametrize("answer", ODD_ANSWERS)
async def test_what_is_no_review_is_an_api_server_that_is_away(answer: str) -> None:
    async with odd_api(*ODD_ANSWERS[answer]) as connection:
        with pytest.raises(ApiAway):
            await Api(connection).review("/reviews", {})


@pytest.mark.parametrize("answer", NO_LISTS)
async def test_what_is_no_list_is_an_api_server_that_is_away(answer: str) -> None:
    async with odd_api(*NO_LISTS[answer]) as connection:
        with pytest.raises(ApiAway):
            await Api(connection).list_all("/pods", "")


@pytest.mark.parametrize("answer", NO_EVENTS)
async def test_what_is_no_event_is_an_api_server_that_is_away(answer: str) -> None:
    async with odd_api(*NO_EVENTS[answer]) as connection:
        with pytest.raises(ApiAway):
            async for _ in Api(connection).watch("/pods", "", "1"):
                pass
