"""What answers in the API server's place is an error to try again after, whatever it says."""

import pytest
from tests.support.odd_api import NO_LISTS, ODD_ANSWERS, odd_api

from anypod_operator.api import Api
from anypod_operator.api_errors import ApiError
from anypod_operator.kinds import POD
from anypod_operator.metrics import Metrics


@pytest.mark.parametrize("answer", ODD_ANSWERS)
async def test_what_is_no_answer_of_the_api_is_an_error_of_it(answer: str) -> None:
    async with odd_api(*ODD_ANSWERS[answer]) as connection:
        with pytest.raises(ApiError) as caught:
            await Api(connection, Metrics()).get(POD, "team", "w1")
    assert str(caught.value)
    assert caught.value.retry_after == 0.0


@pytest.mark.parametrize("answer", NO_LISTS)
async def test_what_is_no_list_is_an_error_of_the_api(answer: str) -> None:
    async with odd_api(*NO_LISTS[answer]) as connection:
        with pytest.raises(ApiError):
            await Api(connection, Metrics()).list_all(POD, None, "")
