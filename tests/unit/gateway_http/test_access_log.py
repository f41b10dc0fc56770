"""What gets a line in the access log, and what does not."""

import json
import os

import pytest

from anypod_gateway.access_log import AccessLog
from anypod_gateway.calls import Call
from anypod_gateway.log_lines import LineWriter


class Log:
    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        self._lines = LineWriter(self._writing)
        self.access = AccessLog(self._lines, "json")

    def note(self, route: str, status: int) -> None:
        call = Call()
        call.route = route
        self.access.note("GET", status, 0.001, call)

    def written(self) -> list[tuple[str, int]]:
        self._lines.close()
        self._lines.flush()
        os.close(self._writing)
        with os.fdopen(self._reading, "rb") as file:
            return [(line["path"], line["status"]) for line in map(json.loads, file)]


@pytest.fixture
def log() -> Log:
    return Log()


def test_every_request_has_its_line(log: Log) -> None:
    log.note("/v1/pools", 200)
    log.note("/v1/pools/{pool}", 404)

    assert log.written() == [("/v1/pools", 200), ("/v1/pools/{pool}", 404)]


def test_a_probe_has_one_only_when_it_fails(log: Log) -> None:
    for route in ("/healthz", "/readyz"):
        log.note(route, 200)
    log.note("/readyz", 503)

    assert log.written() == [("/readyz", 503)]
