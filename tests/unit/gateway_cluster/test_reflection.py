"""A server in trouble is not asked without a pause, and one line says so."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from anypod_gateway.cluster.connection import ApiAway, Expired
from anypod_gateway.cluster.reflection import Reflection

SECONDS = 1.5
MOST = 12
"""Pauses begin at 50 ms and double to a second; chance adds a quarter."""


class Troubled:
    """Lists, and ends or refuses every watch at once."""

    def __init__(self, end: Exception | None) -> None:
        self.lists = self.watches = 0
        self._end = end

    async def list_all(self, path: str, selector: str) -> tuple[list[object], str]:
        self.lists += 1
        return [], "1"

    async def watch(self, path: str, selector: str, since: str) -> AsyncIterator[object]:
        self.watches += 1
        if self._end is not None:
            raise self._end
        return
        yield


@pytest.mark.parametrize("end", [None, ApiAway("403"), Expired("410")])
async def test_a_watch_that_ends_at_once_is_not_begun_again_at_once(
    end: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    api = Troubled(end)
    reflection = Reflection(api, "/p", "", lambda: None)  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO), pytest.raises(TimeoutError):
        async with asyncio.timeout(SECONDS):
            await reflection.run()
    assert 1 <= api.watches <= MOST
    assert api.lists <= MOST
    assert len(caplog.records) <= 1
    assert reflection.is_synced
