"""What dies is started again at once, then ever later, and anew after a good life."""

from anypod.local.backoff import Backoff


def test_pauses_grow_to_the_longest_and_begin_anew_after_a_good_life() -> None:
    backoff = Backoff(first=0.5, longest=3, stable=60)
    assert [backoff.pause(1) for _ in range(6)] == [0, 0.5, 1, 2, 3, 3]
    assert [backoff.pause(60), backoff.pause(1)] == [0, 0.5]
