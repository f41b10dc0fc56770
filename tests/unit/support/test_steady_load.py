"""What the load on a cluster counts of what the client library does by itself."""

from collections import Counter

import pytest
from tests.support.load_watch import Row
from tests.support.scripted_http import answers, refuses, scripted
from tests.support.steady_load import PLAIN, READ, Counted, Record

from anypod.client import AsyncClient, http_async


async def test_repeats_are_counted_by_kind_and_by_what_was_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_async, "Attempts", Counted)
    busy = refuses("queue-full", 429, retryAfter=0)
    lost = refuses("no-worker", 503, retryAfter=0)
    done = answers(204)
    record = Record()
    with scripted(busy, busy, done, lost, done) as server:
        async with AsyncClient(server.url) as client:
            for kind in (PLAIN, READ):
                with record.call(kind):
                    await client.sessions.end("any")
    told = record.take()
    assert told.troubles == []
    assert told.repeats == {f"{PLAIN}: queue-full": 2, f"{READ}: no-worker": 1}
    assert record.take().repeats == {}


async def test_what_is_not_repeated_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_async, "Attempts", Counted)
    record = Record()
    with scripted(refuses("worker-lost", 502)) as server:
        async with AsyncClient(server.url) as client:
            with record.call(PLAIN):
                await client.run("any", {})
    told = record.take()
    assert (told.repeats, [each.type for each in told.troubles]) == ({}, ["worker-lost"])


def test_a_row_of_the_table_has_them() -> None:
    row = Row("a gateway killed", 0.0, repeats=Counter({"plain: Unreachable": 2}))
    assert row.line().endswith("| none | plain: 2 Unreachable | 0.0 s |")
