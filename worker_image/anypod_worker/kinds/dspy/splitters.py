"""Which output the pieces of a reply belong to, while an LM says it, by the adapter's form.

What is told of an output is always the beginning of its value, as DSPy's adapter will read it from
the whole reply. Where that cannot be known, as in a reply of no clear form, nothing more is told.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import Protocol
from xml.parsers import expat

from anypod.dspy.spec import AdapterName

Said = Iterator[tuple[str, str]]
"""Pieces of outputs, each with its field."""


class Splitter(Protocol):
    def feed(self, text: str) -> Said:
        """Pieces that are certain now. To be iterated to its end."""


class _Trimmed:
    """A value without white space around it."""

    def __init__(self) -> None:
        self._gap = ""
        self._has_begun = False

    def add(self, text: str) -> str:
        """What is certain to be of the value."""
        text = self._gap + text
        if not self._has_begun:
            text = text.lstrip()
        said = text.rstrip()
        self._gap = text[len(said) :]
        self._has_begun = self._has_begun or bool(said)
        return said

    def drop_gap(self) -> None:
        self._gap = ""


_HEADER = re.compile(r"\[\[ ## (\w+) ## \]\]")
_WORD = re.compile(r"\w*")
_BEFORE, _AFTER = "[[ ## ", " ## ]]"


class _Chat:
    """Sections, each below a header; a header begins its line."""

    def __init__(self, fields: Collection[str]) -> None:
        self._left = set(fields)
        self._field = ""
        """Whose section it is; empty when it is told to nobody."""
        self._value = _Trimmed()
        self._held = ""
        """Of the line that is being said, what may yet become a header, or a line's end."""
        self._is_decided = False
        """What follows in this line is of the section."""
        self._is_headers = False
        """It stands behind a header."""

    def feed(self, text: str) -> Said:
        *lines, last = (self._held + text).splitlines(keepends=True) or [""]
        self._held = ""
        for line in lines:
            yield from self._whole(line)
        may_go_on = last.endswith("\r") or "".join(last.splitlines()) == last
        yield from (self._part if may_go_on else self._whole)(last)

    def _whole(self, line: str) -> Said:
        (content,) = line.splitlines()
        if not self._is_decided:
            content = self._content(content)
        yield from self._say(content)
        if self._is_headers:
            self._value.drop_gap()
        yield from self._say("\n")
        self._is_decided = self._is_headers = False

    def _part(self, line: str) -> Said:
        if not self._is_decided:
            if not _HEADER.match(line.strip()) and _may_become_header(line.lstrip()):
                self._held = line
                return
            line = self._content(line)
            self._is_decided = True
        self._held = "\r" if line.endswith("\r") else ""
        yield from self._say(line.removesuffix("\r"))

    def _content(self, line: str) -> str:
        """Of a line from its beginning, behind the header if it has one."""
        header = _HEADER.match(line.strip())
        if header is None:
            return line
        name = header[1]
        self._field = name if name in self._left else ""
        self._left.discard(name)
        self._value = _Trimmed()
        self._is_headers = True
        return line[header.end() :]  # as DSPy does, though the line may be indented

    def _say(self, text: str) -> Said:
        if self._field and (said := self._value.add(text)):
            yield self._field, said


def _may_become_header(text: str) -> bool:
    if not text.startswith(_BEFORE):
        return _BEFORE.startswith(text)
    word = _WORD.match(text, len(_BEFORE))
    assert word is not None
    return _AFTER.startswith(text[word.end() :])


_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[dD][89abAB]..\\u[dD][c-fC-F]..|u[0-9a-fA-F]{4})')
_HALF_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
_HALF_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?")
_BEGINNING = re.compile(r"\s*(?:```(?:json)?\s*)?\{")
_HALF_BEGINNING = re.compile(r"\s*(?:`{0,3}|```j?s?o?n?\s*)")
_BETWEEN = re.compile(r"[^\"{}\[\]]+")


class _Unclear(Exception):
    """What is said has not the form."""


class _Json:
    """One object, whose members are the outputs; strings of it are told as they come."""

    def __init__(self, fields: Collection[str]) -> None:
        self._left = set(fields)
        self._rest = ""
        """What is not understood yet."""
        self._depth = 0
        self._before = ""
        """Between values, since the last string or bracket."""
        self._key: str | None = None
        self._string: list[str] | None = None
        """The pieces of the string that is being said, unless they are told."""
        self._field = ""
        """The output whose value the string is."""
        self._is_over = False

    def feed(self, text: str) -> Said:
        self._rest += text
        while self._rest and not self._is_over:
            before = self._rest
            try:
                yield from self._step()
            except (_Unclear, ValueError):
                self._is_over = True
            if self._rest is before:
                return

    def _step(self) -> Said:
        if self._depth == 0:
            self._begin()
        elif self._field or self._string is not None:
            yield from self._in_string()
        else:
            self._between()

    def _begin(self) -> None:
        found = _BEGINNING.match(self._rest)
        if found is not None:
            self._depth, self._before = 1, ","
            self._rest = self._rest[found.end() :]
        elif not _HALF_BEGINNING.fullmatch(self._rest):
            raise _Unclear

    def _between(self) -> None:
        found = _BETWEEN.match(self._rest)
        if found is not None:
            self._before += found[0]
            self._rest = self._rest[found.end() :]
            return
        character, self._rest = self._rest[0], self._rest[1:]
        before, self._before = self._before.strip(), ""
        if self._depth == 1:
            self._check(before, character)
        if character == '"':
            self._begin_string(before)
        else:
            self._depth += 1 if character in "{[" else -1
            self._is_over = self._depth == 0

    def _check(self, before: str, character: str) -> None:
        """That keys, colons and commas are where they belong, of this object."""
        is_value = before == ":" and self._key is not None
        is_key = character == '"' and before.endswith(",")
        if character == "]" or not (is_value or is_key or character == "}"):
            raise _Unclear
        if not is_value:
            self._key = None

    def _begin_string(self, before: str) -> None:
        is_value = self._depth == 1 and before == ":" and self._key in self._left
        if is_value:
            assert self._key is not None
            self._field = self._key
            self._left.discard(self._key)
        else:
            self._string = []

    def _in_string(self) -> Said:
        if self._rest[0] == '"':
            self._end_string()
            return
        found = _PLAIN.match(self._rest)
        if found is not None:
            said = found[0]
        elif _HALF_PAIR.fullmatch(self._rest) or _HALF_ESCAPE.fullmatch(self._rest):
            return
        elif found := _ESCAPE.match(self._rest):
            said = json.loads(f'"{found[0]}"')
        else:
            raise _Unclear
        self._rest = self._rest[found.end() :]
        if self._field:
            yield self._field, said
        elif self._string is not None and self._depth == 1:
            self._string.append(said)

    def _end_string(self) -> None:
        self._rest = self._rest[1:]
        if self._field or self._depth > 1 or self._key is not None:
            self._key = None if self._depth == 1 else self._key
        else:
            assert self._string is not None
            self._key = "".join(self._string)
        self._field, self._string = "", None


class _Xml:
    """An element for each output, read by the parser that DSPy reads them with."""

    def __init__(self, fields: Collection[str]) -> None:
        self._left = set(fields)
        self._field = ""
        self._value = _Trimmed()
        self._depth = 0
        self._found: list[tuple[str, str]] = []
        self._is_over = False
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._say
        self._parser.Parse("<dspy_root>", False)

    def feed(self, text: str) -> Said:
        if self._is_over:
            return
        try:
            self._parser.Parse(text, False)
        except (expat.ExpatError, UnicodeError):
            self._is_over = True
        found, self._found = self._found, []
        yield from found

    def _start(self, name: str, _: object) -> None:
        self._depth += 1
        # Elements within it are told as they are written, which is known at its end.
        self._field = name if self._depth == 2 and name in self._left else ""
        if self._field:
            self._left.discard(name)
            self._value = _Trimmed()

    def _end(self, _: str) -> None:
        self._depth -= 1
        self._field = ""

    def _say(self, text: str) -> None:
        if self._field and (said := self._value.add(text)):
            self._found.append((self._field, said))


_FORMS: dict[AdapterName, Callable[[Collection[str]], Splitter]] = {
    "chat": _Chat,
    "json": _Json,
    "xml": _Xml,
}


def splitter(adapter: AdapterName, fields: Collection[str]) -> Splitter:
    """Of one reply, for outputs that are texts."""
    return _FORMS[adapter](fields)
