"""What gets a line in the access log, and what does not."""

import json
import os

import pytest

from anypod_gateway.access_log import AccessLog
from anypod_gateway.calls import Call
from anypod_gateway.log_lines import LineWriter, LogFormat


class Log:
    def __init__(self, form: LogFormat = "json") -> None:
        self._reading, self._writing = os.pipe()
        self._lines = LineWriter(self._writing)
        self.access = AccessLog(self._lines, form)

    def note(self, route: str, status: int) -> None:
        call = Call()
        call.route = route
        self.access.note("GET", status, 0.001, call)

    def written(self) -> list[tuple[str, int]]:
        return [(line["path"], line["status"]) for line in map(json.loads, self.lines())]

    def lines(self) -> list[str]:
        self._lines.close()
        self._lines.flush()
        os.close(self._writing)
        with os.fdopen(self._reading) as file:
            return file.read().splitlines()


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


def test_people_read_what_was_asked_and_how_it_went() -> None:
    log, call = Log("text"), Call()
    call.route, call.pool, call.execution, call.worker = "/run", "default", "x-1", "w1"
    call.problem, call.items, call.failed = "worker-lost", 3, 1
    log.access.note("POST", 502, 0.0123, call)
    log.note("/v1/pools", 200)

    told, short = (line.partition(" ")[2] for line in log.lines())
    assert told == (
        "POST /run 502 12.3ms pool=default execution=x-1 worker=w1 problem=worker-lost "
        "items=3 failed=1"
    )
    assert short == "GET /v1/pools 200 1.0ms"
