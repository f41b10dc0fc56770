"""Types and signatures are read from text: nothing runs, nothing is imported, and what is written
back reads the same."""

import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anypod.dspy import signatures, types
from anypod.dspy.signatures import InvalidSignature
from anypod.dspy.types import InvalidType, Named, OneOf, Union

OWN = ("Item", "Order")

literals = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.integers(-(2**53), 2**53),
    st.booleans(),
    st.none(),
)
plain = st.sampled_from([*types.SCALARS, *types.SPECIAL, *OWN, "list", "dict", "None"])


def unions(members: list[types.Type]) -> types.Type:
    return types.parse(" | ".join(types.render(member) for member in members), OWN)


some_types: st.SearchStrategy[types.Type] = st.recursive(
    plain.map(Named)
    | st.lists(literals, min_size=1, max_size=3).map(
        lambda values: OneOf(tuple(dict.fromkeys(map(ascii, values))))
    ),
    lambda inner: (
        inner.map(lambda one: Named("list", (one,)))
        | inner.map(lambda one: Named("dict", (Named("str"), one)))
        | st.lists(inner, min_size=1, max_size=3).map(unions)
    ),
    max_leaves=6,
)


@given(some_types)
def test_what_is_written_reads_the_same(type_: types.Type) -> None:
    text = types.render(type_)
    assert types.parse(text, OWN) == type_
    assert types.render(types.parse(text, OWN)) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("str", "str"),
        (" list[ str ]", "list[str]"),
        ("Optional[int]", "int | None"),
        ("typing.Optional[int]", "int | None"),
        ("Union[str, int, str]", "str | int"),
        ("str | (int | None)", "str | int | None"),
        ("dict[str, list[Item]]", "dict[str, list[Item]]"),
        (
            "Literal['a->b', \"x, y\", 1, True, None, -2]",
            "Literal['a->b', 'x, y', 1, True, None, -2]",
        ),
        ("dspy.Image", "Image"),
        ("list[Literal['é']]", "list[Literal['\\xe9']]"),
    ],
)
def test_spellings_of_one_type_are_one(text: str, canonical: str) -> None:
    assert types.render(types.parse(text, OWN)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Foo",
        "os.system",
        "__import__('os')",
        "list[str][0]",
        "this.that",
        "print()",
        "(lambda: str)()",
        "list[int, str]",
        "dict[int, str]",
        "Literal[1.5]",
        "Literal[f'{x}']",
        "Literal[b'x']",
        "Literal[x]",
        "Literal['\\ud800']",
        "Literal[9007199254740993]",
        "str if True else int",
        "str; import os",
        "str\nimport os",
        "[str]",
        "'str'",
        "tuple[int, ...]",
        "list[" * 9 + "str" + "]" * 9,
        "(" * 900 + "str" + ")" * 900,
        "str | " * 80 + "str",
        "x" * 2000,
    ],
)
def test_anything_else_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(InvalidType):
        types.parse(text)


def test_the_message_names_the_types_there_are() -> None:
    with pytest.raises(InvalidType, match=r"no type 'Foo'; there are str, int, .*, Item, Order"):
        types.parse("list[Foo]", OWN)


@given(st.text(max_size=60))
@example("q: this->a")
@example("q: antigravity.geohash -> a")
@example("q->a: __import__('os').system('true')")
def test_no_text_runs_or_imports_anything(text: str) -> None:
    before = set(sys.modules)
    try:
        inputs, outputs = signatures.parse(text)
        for _, type_ in (*inputs, *outputs):
            types.parse(type_)
    except (InvalidSignature, InvalidType):
        pass
    assert set(sys.modules) == before


names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: _is_allowed(name))


def _is_allowed(name: str) -> bool:
    try:
        signatures.check_name(name)
    except InvalidSignature:
        return False
    return True


@given(st.lists(st.tuples(names, some_types), min_size=2, max_size=5, unique_by=lambda one: one[0]))
def test_a_signature_that_is_written_reads_the_same(fields: list[tuple[str, types.Type]]) -> None:
    told = [(name, types.render(type_)) for name, type_ in fields]
    inputs, outputs = told[:1], told[1:]
    text = signatures.render(inputs, outputs)
    assert signatures.parse(text) == (inputs, outputs)
    assert signatures.render(*signatures.parse(text)) == text


def test_a_field_without_a_type_is_a_string() -> None:
    found = signatures.parse("question, context: list[str] -> answer, score: float")
    assert found == (
        [("question", "str"), ("context", "list[str]")],
        [("answer", "str"), ("score", "float")],
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question", "one ->"),
        ("a -> b -> c", "one ->"),
        ("-> answer", "at least one input"),
        ("question ->", "at least one input"),
        ("q, q -> a", "'q' stands twice"),
        ("q -> q", "'q' stands twice"),
        ("q: str = 5 -> a", "is not a type"),
        ("*args -> a", "no name of a field"),
        ("q, -> a", "no name of a field"),
        ("_q -> a", "no name of a field"),
        ("1q -> a", "no name of a field"),
        ("class -> a", "uses itself"),
        ("lm -> a", "uses itself"),
        ("config, q -> a", "uses itself"),
        ("q -> demos", "uses itself"),
        ("q -> copy", "uses itself"),
        ("base -> a", "uses itself"),
        ("q -> augmented", "uses itself"),
        ("q -> next_thought", "uses itself"),
        ("q -> model_config", "uses itself"),
        ("q: -> a", "it is 'name' or 'name: type'"),
        ("q: list[str -> a", r"'\]' is missing"),
        ("q: str] -> a", "closes nothing"),
        ("q: Literal['x] -> a", "not closed"),
        ("q" * 30_000, "20000 characters"),
    ],
)
def test_a_signature_that_dspy_would_misread_is_refused(text: str, message: str) -> None:
    with pytest.raises((InvalidSignature, InvalidType), match=message):
        _read(text)


def _read(text: str) -> None:
    for side in signatures.parse(text):
        for _, type_ in side:
            types.parse(type_)


def test_one_and_true_are_two_literals() -> None:
    both = types.parse("Literal[1] | Literal[True]")
    assert types.render(both) == "Literal[1] | Literal[True]"
    assert types.parse("Literal[1, True]").values == (1, True)  # type: ignore[union-attr]


def test_a_union_of_one_is_that_one() -> None:
    assert types.parse("str | str") == Named("str")
    assert types.parse("str | None") == Union((Named("str"), types.NONE))
