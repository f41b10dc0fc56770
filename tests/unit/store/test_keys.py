"""Keys: every name that the API takes has one key, and no two names share one."""

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from anypod.store.checks import prefix_end
from anypod.store.keys import InvalidName, PoolKeys, program_id, revision_name, session_key

program_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True)
session_keys = st.from_regex(r"[A-Za-z0-9._~:@-]{1,128}", fullmatch=True)
revisions = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
labels = st.from_regex(r"[a-z]([-a-z0-9]{0,30}[a-z0-9])?", fullmatch=True)
pools = st.builds(PoolKeys, labels, labels)


def keys_of(pool: PoolKeys, program: str, session: str, revision: str) -> list[str]:
    return [
        pool.changes,
        pool.pin(session),
        pool.state(session),
        *(
            key
            for programs in (pool.programs, pool.session_programs(session))
            for key in (
                programs.head(program),
                programs.history(program),
                programs.revision(program, revision),
            )
        ),
    ]


@settings(max_examples=40)
@given(pools, program_ids, session_keys, revisions)
def test_no_two_things_share_a_key(
    pool: PoolKeys, program: str, session: str, revision: str
) -> None:
    keys = keys_of(pool, program, session, revision)
    assert len(set(keys)) == len(keys)


@settings(max_examples=40)
@given(pools, program_ids, program_ids, session_keys, session_keys, revisions)
def test_different_names_have_different_keys(
    pool: PoolKeys, program: str, other: str, session: str, other_session: str, revision: str
) -> None:
    assume(program != other)
    assume(session != other_session)
    mine = set(keys_of(pool, program, session, revision)) - {pool.changes}
    theirs = set(keys_of(pool, other, other_session, revision))
    assert not mine & theirs


@settings(max_examples=40)
@given(labels, labels, labels, labels, program_ids, session_keys, revisions)
def test_pools_do_not_see_each_other(
    namespace: str,
    pool: str,
    other_namespace: str,
    other_pool: str,
    program: str,
    session: str,
    revision: str,
) -> None:
    assume((namespace, pool) != (other_namespace, other_pool))
    other = PoolKeys(other_namespace, other_pool)
    root = other.watched.removesuffix("watched/")
    keys = keys_of(PoolKeys(namespace, pool), program, session, revision)
    assert not any(key.startswith(root) for key in keys)


@settings(max_examples=40)
@given(pools, program_ids, program_ids, revisions)
def test_the_folder_of_a_programs_revisions_holds_no_others(
    pool: PoolKeys, program: str, other: str, revision: str
) -> None:
    assume(program != other)
    folder = pool.programs.revisions(program)
    key = pool.programs.revision(other, revision)
    assert not folder <= key < prefix_end(folder)
    assert folder <= pool.programs.revision(program, revision) < prefix_end(folder)


@given(st.text())
def test_names_are_taken_exactly_as_the_patterns_say(text: str) -> None:
    for check, pattern in (
        (program_id, r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"),
        (session_key, r"[A-Za-z0-9._~:@-]{1,128}"),
        (revision_name, r"[0-9a-f]{64}"),
    ):
        if re.fullmatch(pattern, text):
            assert check(text) == text
        else:
            with pytest.raises(InvalidName):
                check(text)


@pytest.mark.parametrize("name", ["", "a/b", "a\n", "\na", "a\0", "A" * 129, "..", "a b", "é"])
def test_a_bad_name_never_becomes_a_key(name: str) -> None:
    pool = PoolKeys("default", "main")
    for build in (pool.programs.head, pool.programs.history, pool.programs.revisions):
        with pytest.raises(InvalidName):
            build(name)
    if name != "..":  # a text like any other in a key
        with pytest.raises(InvalidName):
            pool.pin(name)
        with pytest.raises(InvalidName):
            pool.state(name)
        with pytest.raises(InvalidName):
            pool.session_programs(name)
    with pytest.raises(InvalidName):
        pool.programs.revision("a", name)


@pytest.mark.parametrize("name", ["", "a/b", "-a", "a-", "A", "a.b", "a" * 64])
def test_a_bad_namespace_or_pool_has_no_keys(name: str) -> None:
    with pytest.raises(InvalidName):
        PoolKeys(name, "main")
    with pytest.raises(InvalidName):
        PoolKeys("default", name)
