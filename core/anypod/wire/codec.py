"""Messages to bytes and back; several messages of one loop turn in one WebSocket message."""

from collections.abc import Sequence

import msgspec

from anypod.wire.messages import Message, ToGateway, ToWorker

LINK_PATH = "/link"
"""Where a worker accepts the WebSocket of a gateway."""

TOKEN_HEADER = "X-AnyPod-Link-Token"  # noqa: S105 - a header's name
"""Carries the pool's link secret on the WebSocket's handshake."""

BATCH_BYTES = 256 * 1024
"""A sender ends a batch when it holds this much, so one message is this plus one body at most."""

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Default limit of inputs and of outputs, each way."""

STORED_BYTES = 1024 * 1024
"""The most that the store keeps of one thing, whatever a pool's bodies may have: a program's code,
its schemas, a session's state."""

CLOSE_PROTOCOL = 4400
CLOSE_UNAUTHENTICATED = 4401
CLOSE_DRAINED = 4503
"""The worker has stopped, and has answered all that it took: what has no answer never ran."""


def max_message_bytes(max_body_bytes: int, log_bytes: int = 0) -> int:
    """The largest WebSocket message that an end takes: a body with what is printed and stored
    beside it. The names and lengths of a program's many files take as much as its text at most."""
    return untold_message_bytes(max_body_bytes, log_bytes) + 2 * STORED_BYTES


def untold_message_bytes(max_body_bytes: int, log_bytes: int = 0) -> int:
    """Of an end that is of a version whose hello does not say it."""
    # What is no UTF-8 of what is printed takes three bytes for one.
    return 2 * max_body_bytes + 4 * log_bytes + BATCH_BYTES + 64 * 1024


_encoder = msgspec.msgpack.Encoder()
_to_worker = msgspec.msgpack.Decoder(list[ToWorker])
_to_gateway = msgspec.msgpack.Decoder(list[ToGateway])


class BadMessage(ValueError):
    """The peer sent bytes that are not a batch of known messages."""


def encode(batch: Sequence[Message]) -> bytes:
    return _encoder.encode(batch)


def decode_for_worker(data: bytes) -> list[ToWorker]:
    """Raises BadMessage."""
    try:
        return _to_worker.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadMessage(str(error)) from error


def decode_for_gateway(data: bytes) -> list[ToGateway]:
    """Raises BadMessage."""
    try:
        return _to_gateway.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadMessage(str(error)) from error
