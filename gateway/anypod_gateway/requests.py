"""Reading requests: bodies within their limits, models, and query parameters.

Everything here raises AnyPodError with a problem that says what is wrong and where.
"""

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from aiohttp import hdrs, web
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from anypod.api import ids
from anypod.api.documents import RequestModel
from anypod.api.problems import AnyPodError, error
from anypod.wire import strict_json

MAX_PAGE = 1000
DEFAULT_PAGE = 100

_READ_CHUNK = 256 * 1024
_JSON_TYPES = frozenset(
    {"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"}
)

_OBJECTS = frozenset({"dict_type", "model_type"})
"""Errors that say in Python's words, or by a class of ours, what JSON calls an object."""

_WHOLE = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?")
_AFTER = re.compile(r"[!-~]{0,256}")

M = TypeVar("M", bound=RequestModel)


async def read_body(request: web.Request, limit: int, seconds: float) -> bytes:
    """The body, at most ``limit`` bytes (after decompression), within ``seconds``.

    An empty body needs no content type; any other must be JSON.
    """
    content = request.content
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    if content.is_eof():
        body = content.read_nowait()
        if len(body) > limit:
            raise _too_large(limit)
    else:
        body = await _read_slowly(request, limit, seconds)
    if body:
        _check_media_type(request.headers.get(hdrs.CONTENT_TYPE, ""))
    return body


async def _read_slowly(request: web.Request, limit: int, seconds: float) -> bytes:
    content, body = request.content, bytearray()
    content.set_read_chunk_size(min(limit, _READ_CHUNK))
    try:
        async with asyncio.timeout(seconds):
            while chunk := await content.readany():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise error("bad-request", f"the body did not arrive within {seconds:g} seconds") from None
    except web.RequestPayloadError as broken:
        why = " ".join(str(broken).removeprefix("400, message:").split())
        raise error("bad-request", f"the body is broken: {why}") from None
    return bytes(body)


def check_query(query: Mapping[str, str], known: Mapping[str, bool]) -> None:
    """A name that is misspelt would else be as if it had not been said, and so would be what stands
    second. ``known``: which may stand twice. Raises AnyPodError."""
    seen: set[str] = set()
    for name, _ in query.items():  # noqa: PERF102 - its keys() are each once
        if name not in known:
            names = f"there are {', '.join(sorted(known))}" if known else "there is none here"
            raise error("bad-request", f"?{name[:100]}: no such parameter; {names}")
        if name in seen and not known[name]:
            raise error("bad-request", f"?{name} stands twice", path=name)
        seen.add(name)


def split_ref(text: str) -> tuple[str, str]:
    """The id, and the revision's prefix, or "". No program has an id that breaks its rule. Raises
    AnyPodError."""
    try:
        return ids.split_program_ref(text)
    except ids.InvalidRevision as invalid:
        raise error("bad-request", str(invalid)) from None
    except ids.InvalidName as invalid:
        raise error("program-not-found", str(invalid)) from None


def _too_large(limit: int) -> AnyPodError:
    return error("too-large", f"a request may have {limit} bytes", limit=limit)


def _check_media_type(given: str) -> None:
    if given in _JSON_TYPES:
        return
    name, *parameters = (part.strip().lower() for part in given.split(";"))
    if name != "application/json":
        raise error("unsupported-media-type", f"{given or 'nothing'!r} is not application/json")
    for parameter in parameters:
        if parameter.startswith("charset=") and parameter[8:].strip('"') not in {"utf-8", "utf8"}:
            raise error("unsupported-media-type", "JSON is UTF-8")


def parse(model: type[M], body: bytes) -> M:
    """An empty body is an empty object."""
    return validate(model, json_of(body))


def json_of(body: bytes) -> Any:
    try:
        return strict_json.loads(body) if body else {}
    except strict_json.InvalidJson as invalid:
        raise error("bad-request", f"the body is not JSON: {invalid}") from None


def check_inputs(inputs: bytes) -> None:
    """What any worker would refuse them for. Raises AnyPodError."""
    try:
        strict_json.loads(inputs)
    except strict_json.InvalidJson as invalid:
        why = _printable(f"the inputs are not valid JSON: {invalid}")
        raise error("bad-request", why, path="inputs") from None


def validate(model: type[M], value: Any, within: str = "", type_: str = "bad-request") -> M:
    try:
        return model.model_validate(value)
    except ValidationError as invalid:
        raise _refused(invalid, within, type_) from None


def _refused(invalid: ValidationError, within: str, type_: str) -> AnyPodError:
    found = [
        {
            "path": _path(within, one["loc"]),
            "message": _message(one),
        }
        for one in invalid.errors(include_url=False, include_input=False, include_context=False)
    ]
    first = found[0]
    where = f"{first['path']}: " if first["path"] else ""
    return error(type_, where + first["message"], path=first["path"] or None, errors=found[:20])


def _message(found: ErrorDetails) -> str:
    if found["type"] in _OBJECTS:
        return "Input should be an object"
    return _printable(found["msg"].removeprefix("Value error, "))


def _path(within: str, location: Sequence[str | int]) -> str:
    parts = [within] if within else []
    parts += [_printable(str(part)) for part in location if part != "[key]"]
    return ".".join(parts)


def _printable(text: str) -> str:
    """Safe in a JSON answer: a key from the client may hold unpaired surrogates."""
    return text[:500].encode(errors="backslashreplace").decode()


def page(query: Mapping[str, str]) -> tuple[str, int]:
    """``after`` and ``limit`` of a list."""
    text = query.get("limit", str(DEFAULT_PAGE))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise error("bad-request", "limit must be a number", path="limit")
    limit = int(text)
    if not 1 <= limit <= MAX_PAGE:
        raise error("bad-request", f"limit must be 1 to {MAX_PAGE}", path="limit")
    after = query.get("after", "")
    if not _AFTER.fullmatch(after):
        raise error("bad-request", "after must be the `next` of a page", path="after")
    return after, limit


def labels(request: web.Request) -> dict[str, str]:
    """``k=v`` each; all must hold."""
    wanted: dict[str, str] = {}
    given = request.query.getall("label", [])
    if given:
        _check_utf8(request.rel_url.raw_query_string)
    for one in given:
        key, equals, value = one.partition("=")
        if not key or not equals:
            raise error("bad-request", "label must be key=value", path="label")
        if wanted.setdefault(key, value) != value:
            raise error("bad-request", f"label {key!r} is wanted to have two values", path="label")
    return wanted


def _check_utf8(query: str) -> None:
    """What is not would be read as replacement characters."""
    try:
        unquote_to_bytes(query).decode()
    except UnicodeError:
        raise error("bad-request", "the query is not UTF-8", path="label") from None


def flag(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "false")
    if text not in {"true", "false"}:
        raise error("bad-request", f"{name} must be true or false", path=name)
    return text == "true"


def number(
    query: Mapping[str, str],
    name: str,
    *,
    above: int,
    most: float,
    whole: bool = False,
    closed: bool = False,
) -> float | None:
    """None when it is not given; ``closed``: ``above`` itself will do."""
    text = query.get(name)
    if text is None:
        return None
    shape = _WHOLE if whole else _NUMBER
    value = float(text) if shape.fullmatch(text) else math.nan
    if not (above < value <= most or (closed and value == above)):
        what = "a whole number" if whole else "a number"
        limit = f"{most:.15g}"
        where = f"from {above} to {limit}" if closed else f"above {above}, and at most {limit}"
        raise error("bad-request", f"{name} must be {what} {where}", path=name)
    return value


def if_match(request: web.Request) -> str | None:
    """The revision that the program must have, ``*`` for any, or None without a condition."""
    given = request.headers.get(hdrs.IF_MATCH)
    if given is None or given.strip() == "*":
        return given and "*"
    text = given.strip()
    if len(text) < 2 or not (text.startswith('"') and text.endswith('"')):
        raise error("bad-request", 'If-Match must be one "revision" in quotes', path="If-Match")
    return text[1:-1]
