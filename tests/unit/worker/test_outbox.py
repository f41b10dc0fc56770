"""A stream never has more than its window under way, keeps its order, and ends."""

from hypothesis import given
from hypothesis import strategies as st

from anypod.wire.messages import WINDOW, Chunk, Log
from anypod_worker.outbox import CREDIT_STEP, Outbox


class Line:
    def __init__(self) -> None:
        self.sent: list[Chunk | Log] = []
        self.passed = 0
        self.ended = 0
        self.outbox = Outbox(self.sent.append, self._passed)

    def _passed(self, size: int) -> None:
        self.passed += size

    def push(self, size: int) -> Chunk:
        chunk = Chunk("x", bytes(size))
        self.outbox.push(chunk, size)
        return chunk

    def end(self) -> None:
        self.outbox.end(self._end)

    def _end(self) -> None:
        self.ended += 1

    @property
    def size(self) -> int:
        return sum(len(m.data) for m in self.sent if isinstance(m, Chunk))


sizes = st.lists(st.integers(0, WINDOW), max_size=30)


@given(sizes, st.lists(st.integers(1, WINDOW), max_size=30))
def test_the_window_holds_and_the_order_stays(pushed: list[int], credits_: list[int]) -> None:
    line = Line()
    chunks = []
    given_back = 0
    todo = list(credits_)
    for size in pushed:
        before = line.size
        chunks.append(line.push(size))
        assert line.size == before or before - given_back < WINDOW
        if todo:
            given_back += (credit := todo.pop())
            line.outbox.credit(credit)
    line.end()
    assert line.sent == chunks[: len(line.sent)]
    line.outbox.credit(sum(pushed) + WINDOW)
    assert line.sent == chunks
    assert line.ended == 1


@given(sizes)
def test_the_executor_hears_of_all_but_the_last_step(pushed: list[int]) -> None:
    line = Line()
    line.outbox.credit(sum(pushed) + 1)
    for size in pushed:
        line.push(size)
    assert 0 <= sum(pushed) - line.passed < CREDIT_STEP


def test_the_end_waits_for_what_waits() -> None:
    line = Line()
    line.push(WINDOW)
    line.push(1)
    line.end()
    assert line.ended == 0
    line.outbox.credit(1)
    assert line.ended == 1


def test_after_a_drop_only_the_end_is_sent() -> None:
    line = Line()
    first = line.push(WINDOW)
    line.push(1)
    line.outbox.drop()
    line.push(1)
    line.end()
    assert line.sent == [first]
    assert line.ended == 1


def test_a_drop_lets_the_end_go_that_waited() -> None:
    line = Line()
    line.push(WINDOW)
    line.push(1)
    line.end()
    line.outbox.drop()
    assert line.ended == 1
    line.outbox.drop()
    line.outbox.credit(5)
    assert line.ended == 1, "it ends once"


@given(sizes, st.lists(st.integers(1, WINDOW), max_size=30))
def test_an_executor_that_counts_its_credit_never_finds_it_full(
    pushed: list[int], credits_: list[int]
) -> None:
    line = Line()
    sent = 0
    todo = list(credits_)
    for size in pushed:
        if sent - line.passed < WINDOW:
            assert not line.outbox.is_full
            line.push(size)
            sent += size
        if todo:
            line.outbox.credit(todo.pop())


def test_what_waits_without_credit_is_told() -> None:
    line = Line()
    line.push(WINDOW)
    assert not line.outbox.is_full
    line.push(WINDOW)
    assert line.outbox.is_full
    line.outbox.drop()
    assert not line.outbox.is_full
