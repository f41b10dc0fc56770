"""Which pools and verbs a caller's rights hold for."""

import pytest

from anypod_gateway.callers.rights import VERBS, Rights, is_pattern


@pytest.mark.parametrize(
    ("pools", "pool", "allowed"),
    [
        (["default"], "default", True),
        (["default"], "default.other", False),
        (["default"], "default2", False),
        (["default.other"], "default.other", True),
        (["default.other"], "default", False),
        (["team-*"], "team-a", True),
        (["team-*"], "team-", True),
        (["team-*"], "team-a.other", False),
        (["team-*.ns"], "team-a.ns", True),
        (["team-*.ns"], "team-a.ns2", False),
        (["team-*.ns"], "team-a", False),
        (["*.ns"], "anything.ns", True),
        (["*.ns"], "anything", False),
        (["*-a.*"], "x-a.y", True),
        (["*"], "anything.at-all", True),
        (["a", "b*", "c.d"], "bb", True),
        (["a", "b*", "c.d"], "c.d", True),
        ([], "default", False),
        (["default"], "Default", False),
        (["default"], "default\n", False),
        (["d*"], "d\n", False),
    ],
)
def test_a_star_does_not_cross_the_dot_before_the_namespace(
    pools: list[str], pool: str, allowed: bool
) -> None:
    assert Rights(pools, VERBS).allow("run", pool) is allowed


def test_no_verb_brings_another() -> None:
    for verb in VERBS:
        rights = Rights(["*"], [verb])
        assert [one for one in VERBS if rights.allow(one, "p")] == [verb]


@pytest.mark.parametrize("pattern", ["", ".", "a.b.c", "A", "a b", "a.", ".a", "a*b*c*d*e*", "a|b"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    assert not is_pattern(pattern)
    with pytest.raises(ValueError, match="a pool is a name"):
        Rights([pattern], VERBS)


def test_a_name_that_is_longer_than_any_pools_is_not_tried() -> None:
    """With these stars it would take days."""
    assert not Rights(["a*a*a*a*"], VERBS).allow("run", "a" * 100_000 + "!")
