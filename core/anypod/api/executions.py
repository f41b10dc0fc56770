"""Runs as clients ask for them and get them: the hot path, so msgspec, and values stay bytes.

``inputs`` and ``outputs`` are never parsed here. What a request must still be refused for without
looking into ``inputs`` is checked on the little that is left when they are cut out.
"""

import json
import re
import secrets
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec

from anypod.api.usage import Usage
from anypod.dspy.spec import LmChoice
from anypod.wire import strict_json

EMPTY_OBJECT = b"{}"
LONGEST_TIMEOUT = 86_400
"""Seconds."""

Inputs = Annotated[
    msgspec.Raw,
    msgspec.Meta(
        description="The entry function's arguments by name.",
        extra_json_schema={"type": "object"},
    ),
]
Timeout = Annotated[
    float,
    msgspec.Meta(
        gt=0,
        description="Of this execution; at most the pool's maximum.",
        # Not checked here, where nobody knows how much less the pool allows.
        extra_json_schema={"maximum": LONGEST_TIMEOUT},
    ),
]


def _no_inputs() -> msgspec.Raw:
    return msgspec.Raw(EMPTY_OBJECT)


HIGHEST_TEMPERATURE = 2
MOST_TOKENS = 1_000_000
Temperature = Annotated[float, msgspec.Meta(ge=0, le=HIGHEST_TEMPERATURE)]
MaxTokens = Annotated[int, msgspec.Meta(ge=1, le=MOST_TOKENS)]


class RunLm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which of the pool's LMs a program of kind dspy asks, and what is said differently to it."""

    name: str | None = None
    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None

    def choice(self) -> LmChoice:
        return LmChoice(self.name, self.temperature, self.max_tokens)


ChosenLm = Annotated[
    str | RunLm | None, msgspec.Meta(description="Of a program of kind dspy: over what it says.")
]


def choice_of(lm: str | RunLm | None) -> LmChoice | None:
    if lm is None or isinstance(lm, str):
        return None if lm is None else LmChoice(lm)
    return lm.choice()


class RunRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Run a program of the pool."""

    inputs: Inputs = msgspec.field(default_factory=_no_inputs)
    timeout_seconds: Timeout | None = None
    lm: ChosenLm = None


class RunInlineRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Run a program that comes with the call and is kept nowhere."""

    program: Annotated[
        msgspec.Raw,
        msgspec.Meta(
            extra_json_schema={
                "oneOf": [
                    {"$ref": "#/components/schemas/ProgramCode"},
                    {"$ref": "#/components/schemas/DspyCode"},
                ]
            }
        ),
    ]
    inputs: Inputs = msgspec.field(default_factory=_no_inputs)
    timeout_seconds: Timeout | None = None
    lm: ChosenLm = None


class Logs(msgspec.Struct, frozen=True, rename="camel"):
    """What an execution printed, as far as the pool's limit goes."""

    stdout: str
    stderr: str
    cut_bytes: int
    """Printed beyond the limit, and dropped."""


class Execution(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """How an execution went."""

    id: str
    revision: str
    worker: str
    attempt: int
    queue_seconds: float
    run_seconds: float
    program: str | None = None
    """Absent for an inline program."""
    session: str | None = None
    logs: Logs | None = None
    usage: Usage | None = None


class RunAnswer(msgspec.Struct, frozen=True):
    outputs: Annotated[msgspec.Raw, msgspec.Meta(description="What the entry function returned.")]
    execution: Execution


_decode_run = msgspec.json.Decoder(RunRequest).decode
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode
_decode_inline = msgspec.json.Decoder(RunInlineRequest).decode

_SURROGATE = re.compile(rb"\\u([dD][89a-fA-F][0-9a-fA-F]{2})")
_PLAIN = frozenset({b"{}", b'{"inputs":null}', b'{"inputs": null}', b'{ "inputs": null }'})
"""What is left of most requests without their inputs: no key stands twice in these."""


Request = TypeVar("Request", RunRequest, RunInlineRequest, msgspec.Raw)


class InvalidRequest(ValueError):
    """The body is not such a request; the message says why, for the client."""

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path

    def shown(self, nonce: bytes) -> "InvalidRequest":
        """As its client sees it, who sent what was masked."""
        return InvalidRequest(_sent(str(self), nonce), self.path and _sent(self.path, nonce))


Asked = tuple[bytes, float | None, LmChoice | None]
"""The inputs, still JSON; the timeout; the LM."""


def parse_run(body: bytes) -> Asked:
    """Raises InvalidRequest."""
    if not body:
        return EMPTY_OBJECT, None, None
    masked, nonce = _masked(body)
    try:
        request = _decode(_decode_run, masked)
        inputs = _object(request.inputs, "inputs")
        _check_keys_once(_cut(masked, inputs))
    except InvalidRequest as invalid:
        raise invalid.shown(nonce) from None
    lm = None if request.lm is None else _named(choice_of(request.lm), nonce)
    return _unmasked(inputs, nonce), request.timeout_seconds, lm


def parse_inputs(line: bytes) -> bytes:
    """The inputs of an item, which are all of its line. Raises InvalidRequest."""
    masked, nonce = _masked(line)
    return _unmasked(_object(_decode(_decode_any, masked.strip()), "an item"), nonce)


def parse_run_inline(body: bytes) -> tuple[Any, Asked]:
    """The program, parsed but not yet a model; what else is asked. Raises InvalidRequest."""
    masked, nonce = _masked(body or EMPTY_OBJECT)
    try:
        request = _decode(_decode_inline, masked)
        inputs = _object(request.inputs, "inputs")
        program = _object(request.program, "program")
        # The longer one first: it cannot be a part of the other.
        longer, shorter = sorted((inputs, program), key=len, reverse=True)
        _check_keys_once(_cut(_cut(masked, longer), shorter))
    except InvalidRequest as invalid:
        raise invalid.shown(nonce) from None
    lm = _named(choice_of(request.lm), nonce)
    try:
        asked = (_unmasked(inputs, nonce), request.timeout_seconds, lm)
        return strict_json.loads(_unmasked(program, nonce)), asked
    except strict_json.InvalidJson as error:
        raise InvalidRequest(f"program: {error}", "program") from None


def _masked(body: bytes) -> tuple[bytes, bytes]:
    """The body without escapes of surrogates, which msgspec takes only in pairs, and how to undo
    that: programs get their strings as they were sent."""
    if not body.isascii():
        _check_utf8(body)
    if b"\\u" not in body or not _SURROGATE.search(body):
        return body, b""
    nonce = b"\\u0020" + secrets.token_hex(8).encode("ascii")
    # Stays an escape of the same form, so it does not matter whether the backslash is escaped.
    return _SURROGATE.sub(lambda match: nonce + match[1], body), nonce


def _unmasked(part: bytes, nonce: bytes) -> bytes:
    return part.replace(nonce, b"\\u") if nonce else part


def _sent(text: str, nonce: bytes) -> str:
    """A text of a masked body, as it stood in the body."""
    escape = nonce.decode("ascii")
    if not escape:
        return text
    return text.replace(escape, "\\u").replace(json.loads(f'"{escape}"'), "\\u")


def _named(lm: LmChoice | None, nonce: bytes) -> LmChoice | None:
    if lm is None or lm.name is None or not nonce:
        return lm
    return msgspec.structs.replace(lm, name=_sent(lm.name, nonce))


def _check_utf8(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"not UTF-8: {error.reason} at byte {error.start}") from None


def _decode(decode: Callable[[bytes], Request], body: bytes) -> Request:
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidRequest(message, path.strip(".`") or None) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(str(error)) from None
    except RecursionError:
        raise InvalidRequest("nested too deeply") from None


def _object(raw: msgspec.Raw, name: str) -> bytes:
    part = bytes(raw)
    if not part.startswith(b"{"):
        raise InvalidRequest(f"{name} must be a JSON object", name)
    return part


def _cut(body: bytes, part: bytes) -> bytes:
    # A search for all of a long part would first study it; its beginning tells nearly always.
    at = body.find(part[:64])
    if not body.startswith(part, at):
        at = body.find(part)
    return body if at < 0 else body[:at] + b"null" + body[at + len(part) :]


def _check_keys_once(rest: bytes) -> None:
    if rest in _PLAIN:
        return
    try:
        strict_json.loads(rest)
    except strict_json.InvalidJson as error:
        raise InvalidRequest(str(error)) from None
