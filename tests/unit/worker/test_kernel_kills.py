"""Whose death the kernel's want of memory explains."""

from hypothesis import given
from hypothesis import strategies as st

from anypod_worker.memory import KernelKills

REMEMBERED = KernelKills.REMEMBERED_SECONDS


class Kernel:
    def __init__(self) -> None:
        self.kills = 7

    def __call__(self) -> int:
        return self.kills


def test_a_kill_explains_a_death_that_is_seen_some_looks_later() -> None:
    kernel = Kernel()
    kills = KernelKills(kernel)
    kernel.kills += 1
    for tenth in range(20):
        kills.look(tenth / 10)
    assert kills.explain_one()


def test_a_kill_explains_one_death() -> None:
    kernel = Kernel()
    kills = KernelKills(kernel)
    kernel.kills += 1
    assert [kills.explain_one(), kills.explain_one()] == [True, False]


def test_what_was_before_explains_nothing() -> None:
    assert not KernelKills(Kernel()).explain_one()


def test_an_old_kill_explains_nothing() -> None:
    kernel = Kernel()
    kills = KernelKills(kernel)
    kernel.kills += 1
    kills.look(0.0)
    kills.look(REMEMBERED + 0.1)
    assert not kills.explain_one()


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0.0, 1.0)), max_size=50))
def test_no_more_deaths_are_explained_than_there_were_kills(steps: list[tuple[int, float]]) -> None:
    kernel, now, explained = Kernel(), 0.0, 0
    kills, before = KernelKills(kernel), kernel.kills
    for new, pause in steps:
        kernel.kills += new
        now += pause
        kills.look(now)
        explained += kills.explain_one()
    assert explained <= kernel.kills - before
