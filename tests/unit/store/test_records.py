"""Records are read without trust, and survive the way to JSON and back."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anypod.store.kv import Entry
from anypod.store.program_records import Head
from anypod.store.records import Reader, UnreadableRecord, decode, encode
from anypod.store.revisions import Revision
from anypod.store.sessions import SessionState
from anypod.store.views import RecordView

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

text = st.text(st.characters(codec="utf-8"))
finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


def head(name: str = "a", entrypoint: str = "m:f") -> Head:
    return Head(
        id=name,
        revision="0" * 64,
        kind="python",
        entrypoint=entrypoint,
        created_at=NOW,
        updated_at=NOW,
        uid="u",
    )


@given(st.dictionaries(text, text), text, st.none() | st.floats(0.1, 1e6), st.integers(1))
def test_a_head_comes_back_as_it_was(
    labels: dict[str, str], entrypoint: str, timeout: float | None, version: int
) -> None:
    made = msgspec.structs.replace(
        head(), labels=labels, entrypoint=entrypoint, timeout_seconds=timeout
    )
    read = decode(Entry("k", encode(made), version), Head)
    assert read == msgspec.structs.replace(made, version=version)


@given(st.dictionaries(text, text), st.dictionaries(text, json_values))
def test_a_revision_comes_back_as_it_was(files: dict[str, str], schema: dict[str, object]) -> None:
    made = Revision(
        revision="0" * 64,
        kind="python",
        files=files,
        entrypoint="m:f",
        created_at=NOW,
        inputs_schema=schema,
    )
    assert decode(Entry("k", encode(made), 0), Revision) == made


def test_every_record_says_its_schema_and_not_its_version() -> None:
    made = msgspec.structs.replace(head(), version=7)
    plain = msgspec.json.decode(encode(made))
    assert plain["schema"] == 1
    assert "version" not in plain


def test_fields_that_a_later_version_adds_are_ignored() -> None:
    plain = msgspec.json.decode(encode(head()))
    value = msgspec.json.encode({**plain, "addedLater": [1, 2, 3]})
    assert decode(Entry("k", value, 0), Head) == head()


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(value: bytes) -> None:
    with pytest.raises(UnreadableRecord, match=r"^k: (cannot be read|has schema)"):
        decode(Entry("k", value, 1), Head)


def test_deep_nesting_is_an_unreadable_record() -> None:
    value = b'{"schema":1,"epoch":1,"state":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(UnreadableRecord):
        decode(Entry("k", value, 1), SessionState)


def test_a_listing_leaves_out_what_it_cannot_read_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader = Reader()
    entries = [
        Entry("k/1", encode(head("1")), 1),
        Entry("k/2", b'{"schema":2}', 2),
        Entry("k/3", encode(head("3")), 3),
    ]
    for _ in range(3):
        assert [found.id for found in reader.readable(entries, Head)] == ["1", "3"]
    assert caplog.messages == [
        "left out of listings: k/2: has schema 2; this version of AnyPod knows 1"
    ]


def test_a_view_tells_what_there_was_and_what_there_is() -> None:
    told: list[tuple[str | None, str | None]] = []

    def tell(before: Head | None, now: Head | None) -> None:
        told.append((before.entrypoint if before else None, now.entrypoint if now else None))

    view = RecordView(Head, tell)
    same = Entry("k/same", encode(head(entrypoint="same")), 1)
    gone = Entry("k/gone", encode(head(entrypoint="gone")), 1)
    view.reset([same, gone])
    assert sorted(told, key=str) == [(None, "gone"), (None, "same")]
    told.clear()
    view.reset([same, Entry("k/bad", b"", 2)])
    assert told == [("gone", None)]
    with pytest.raises(UnreadableRecord):
        view.get("k/bad")
    assert view.get("k/gone") is None
    assert len(view) == 2
