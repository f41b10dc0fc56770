"""Failures are counted per address, forgiven with time, and remembered in bounded memory."""

from anypod_gateway.callers import attempts
from anypod_gateway.callers.attempts import BURST, FailedAttempts, source_of


def test_many_failures_of_one_address_are_too_many_and_others_have_their_own() -> None:
    failures = FailedAttempts()
    reached = [failures.note("10.0.0.1", 0.0) for _ in range(BURST)]
    assert reached == [False] * (BURST - 1) + [True]
    assert failures.wait("10.0.0.1", 0.0) == 1
    assert failures.wait("10.0.0.2", 0.0) == 0


def test_they_are_forgiven_with_time() -> None:
    failures = FailedAttempts()
    for _ in range(BURST * 5):
        failures.note("a", 0.0)
    assert failures.wait("a", 0.0) == 1
    assert failures.wait("a", 1.0) == 0
    assert failures.note("a", 1.0)
    assert failures.wait("a", 1.0) == 1
    assert failures.wait("a", 1000.0) == 0
    assert not failures.note("a", 1000.0)


def test_the_memory_is_bounded_and_drops_whoever_was_silent_longest() -> None:
    failures = FailedAttempts()
    for _ in range(BURST):
        failures.note("bad", 0.0)
    for number in range(attempts.MAX_ADDRESSES - 1):
        failures.note(str(number), 0.0)
    failures.note("bad", 0.5)
    failures.note("one more", 0.5)
    assert len(failures) == attempts.MAX_ADDRESSES
    assert failures.wait("bad", 0.5) >= 1


def test_a_network_that_one_machine_has_is_one_source() -> None:
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff:2") != source_of("2001:db8:0:1::1")
    assert source_of("::ffff:10.0.0.1") == source_of("10.0.0.1")
    assert source_of("10.0.0.1") != source_of("10.0.0.2")
    assert source_of("no:address") == "no:address"
