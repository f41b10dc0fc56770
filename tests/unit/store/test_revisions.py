"""A revision's name depends on what the program is, and on nothing else."""

import hashlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from anypod.store.program_records import History, RevisionNotFound, Step
from anypod.store.revisions import new_revision, revision_of
from anypod.wire.messages import Code

files = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8"))
)


def test_the_name_is_the_hash_of_the_canonical_form() -> None:
    """The form is written out, so that no change of it goes unnoticed: names live for ever."""
    canonical = (
        '{"entrypoint":"main:main","files":{"a.py":"é","main.py":"x = \\"1\\"\\n"},'
        '"idempotent":false,"kind":"python","timeoutSeconds":30}'
    )
    named = revision_of("python", {"main.py": 'x = "1"\n', "a.py": "é"}, "main:main", 30.0)
    assert named == hashlib.sha256(canonical.encode()).hexdigest()


@given(files)
def test_the_order_of_files_does_not_matter(content: dict[str, str]) -> None:
    turned = dict(reversed(content.items()))
    assert revision_of("python", content, "m:f") == revision_of("python", turned, "m:f")


@given(files, files)
def test_other_files_are_another_revision(one: dict[str, str], two: dict[str, str]) -> None:
    assume(one != two)
    assert revision_of("python", one, "m:f") != revision_of("python", two, "m:f")


def test_every_part_counts() -> None:
    names = {
        revision_of("python", {"a": "b"}, "m:f"),
        revision_of("dspy", {"a": "b"}, "m:f"),
        revision_of("python", {"a": "c"}, "m:f"),
        revision_of("python", {"b": "b"}, "m:f"),
        revision_of("python", {"a": "b"}, "m:g"),
        revision_of("python", {"a": "b"}, "m:f", 1),
        revision_of("python", {"a": "b"}, "m:f", 1.5),
        revision_of("python", {"a": "b"}, "m:f", None, True),
        revision_of("python", {"a": "b"}, "m:f", None, False, 2),
    }
    assert len(names) == 9


def test_a_whole_number_of_seconds_has_one_form() -> None:
    assert revision_of("python", {}, "m:f", 30) == revision_of("python", {}, "m:f", 30.0)


@pytest.mark.parametrize("timeout", [float("nan"), float("inf")])
def test_what_has_no_canonical_form_has_no_name(timeout: float) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - Python's own words
        revision_of("python", {}, "m:f", timeout)


def test_text_that_is_not_unicode_has_no_name() -> None:
    with pytest.raises(ValueError, match="not Unicode"):
        revision_of("python", {"main.py": "\ud800"}, "m:f")


def test_a_revision_carries_its_own_name() -> None:
    made = new_revision(Code("python", {"a": "b"}, "m:f"), timeout_seconds=2, idempotent=True)
    assert made.revision == revision_of("python", {"a": "b"}, "m:f", 2, True)


def test_a_prefix_finds_one_revision_or_says_why_not() -> None:
    when = new_revision(Code("python", {}, "m:f")).created_at
    names = ["a" * 64, "a" * 32 + "b" * 32, "c" * 64]
    history = History(steps=[Step(name, when) for name in names])
    assert history.find("c" * 8) == "c" * 64
    assert history.find("a" * 33) == "a" * 64
    assert history.find("a" * 64) == "a" * 64
    for name, reason in (("a" * 32, "more than one"), ("c" * 7, "8 digits"), ("d" * 8, "no rev")):
        with pytest.raises(RevisionNotFound, match=reason):
            history.find(name)
