"""Connections that wait for the next run: how many, how long, and whose they are."""

import os
import socket
from collections.abc import Iterator

import pytest

from anypod_worker import kinds
from anypod_worker.kinds.dspy import connections
from anypod_worker.kinds.dspy.connections import IDLE_SECONDS, MAX_IDLE, Idle
from anypod_worker.kinds.dspy.streams import Stream


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Pairs:
    """Streams with their other sides."""

    def __init__(self) -> None:
        self.others: list[socket.socket] = []
        self._made: list[Stream] = []

    def stream(self) -> Stream:
        ours, theirs = socket.socketpair()
        self.others.append(theirs)
        self._made.append(Stream(ours))
        return self._made[-1]

    def are_open(self) -> list[bool]:
        """As their other sides see it."""
        return [is_open(other) for other in self.others]

    def close(self) -> None:
        for stream in self._made:
            stream.close()
        for other in self.others:
            other.close()


def is_open(other: socket.socket) -> bool:
    other.setblocking(False)
    try:
        return bool(other.recv(1))
    except BlockingIOError:
        return True


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    pairs = Pairs()
    yield pairs
    pairs.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def idle(clock: Clock) -> Idle:
    return Idle(clock)


def test_the_one_that_was_used_last_is_taken_first(idle: Idle, pairs: Pairs) -> None:
    first, second = pairs.stream(), pairs.stream()
    idle.put(("a",), first)
    idle.put(("a",), second)
    assert idle.take(("a",)) is second
    assert idle.take(("a",)) is first
    assert idle.take(("a",)) is None


def test_nobody_gets_one_to_another_place(idle: Idle, pairs: Pairs) -> None:
    idle.put(("a",), pairs.stream())
    assert idle.take(("b",)) is None
    assert len(idle) == 1


def test_one_that_the_other_side_has_closed_is_not_taken(idle: Idle, pairs: Pairs) -> None:
    good = pairs.stream()
    idle.put(("a",), good)
    idle.put(("a",), pairs.stream())
    pairs.others[1].close()
    assert idle.take(("a",)) is good


def test_one_where_something_was_said_unasked_is_not_taken(idle: Idle, pairs: Pairs) -> None:
    idle.put(("a",), pairs.stream())
    pairs.others[0].send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert idle.take(("a",)) is None


def test_there_are_so_many_at_most(idle: Idle, pairs: Pairs) -> None:
    for _ in range(MAX_IDLE + 3):
        idle.put(("a",), pairs.stream())
    assert len(idle) == MAX_IDLE
    assert pairs.are_open() == [False] * 3 + [True] * MAX_IDLE


def test_they_wait_so_long_at_most(idle: Idle, pairs: Pairs, clock: Clock) -> None:
    assert idle.tidy() is None
    idle.put(("a",), pairs.stream())
    clock.now += 10
    idle.put(("b",), pairs.stream())
    assert idle.tidy() == pytest.approx(IDLE_SECONDS - 10)
    clock.now += IDLE_SECONDS - 10
    assert idle.tidy() == pytest.approx(10)
    assert pairs.are_open() == [False, True]
    clock.now += 10
    assert idle.take(("b",)) is None
    assert pairs.are_open() == [False, False]


def test_a_fork_has_none_and_its_parent_keeps_its_own(idle: Idle, pairs: Pairs) -> None:
    stream = pairs.stream()
    idle.put(("a",), stream)
    child = os.fork()
    if child == 0:
        os._exit(0 if idle.take(("a",)) is None and len(idle) == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert idle.take(("a",)) is stream


@pytest.mark.parametrize("waited", [0, IDLE_SECONDS])
def test_a_file_that_has_got_its_number_is_not_taken_for_it(
    idle: Idle, pairs: Pairs, clock: Clock, waited: float
) -> None:
    stream = pairs.stream()
    idle.put(("a",), stream)
    number = stream._sock.fileno()
    mine, other = socket.socketpair()
    with mine, other:
        os.dup2(mine.fileno(), number)
        clock.now += waited
        assert idle.take(("a",)) is None
        os.fstat(number)  # whosever it is, it is left alone
        os.close(number)


def test_an_executor_is_told_when_to_see_to_them(
    idle: Idle, pairs: Pairs, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "idle", idle)
    assert kinds.tidy() is None
    idle.put(("a",), pairs.stream())
    assert kinds.tidy() == pytest.approx(IDLE_SECONDS)
    clock.now += IDLE_SECONDS
    assert kinds.tidy() is None
    assert pairs.are_open() == [False]
