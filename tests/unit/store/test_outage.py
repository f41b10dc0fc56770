"""Trouble is told once when it begins and once when it is over."""

import logging

import pytest

from anypod.store.outage import Outage


async def test_an_outage_is_two_lines_however_often_it_fails(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("anypod.store.outage.asyncio.sleep", sleep)
    caplog.set_level(logging.INFO)
    outage = Outage(logging.getLogger("anypod.store.test"), "the store")
    outage.over()
    for _ in range(2):
        for _ in range(100):
            outage.failed("refused")
            await outage.pause()
        outage.over()
    first, last = caplog.messages[:2]
    assert first == "the store: refused; trying on"
    assert last.startswith("the store: well again after")
    assert len(caplog.messages) == 4
    assert slept[0] < 0.1 < slept[99] <= 1.25
    assert slept[100] < 0.1
