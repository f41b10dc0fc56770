"""One watch stream of etcd, as batches that never cut a revision in two.

etcd3aio has a watch of its own. It resumes from the revision in a response's header, which may be
ahead of the events delivered, and it waits for ever after a compaction; ours resumes from the
last event, tells of a compaction, and asks a silent server whether it is still there.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from etcd3aio._protobuf import WatchCreateRequest, WatchRequest

from anypod.store.checks import prefix_end
from anypod.store.etcd_connection import Connection
from anypod.store.etcd_login import is_refusal
from anypod.store.kv import Change, StoreUnavailable

_SILENCE_SECONDS = 10.0
_WRITE_SECONDS = 5.0

# The server ends the watch when its member has lost the cluster, instead of serving silence.
_NEEDS_LEADER = (("hasleader", "true"),)

_DELETE = 1


class Compacted(Exception):
    """The changes asked for are no longer known."""


class Replaced(Compacted):
    """The store has not what it had."""


class Refused(StoreUnavailable):
    """By a server that does not know the token, or its user's right to this."""


@dataclass(frozen=True, slots=True)
class Batch:
    changes: list[Change]
    revision: int
    """All changes up to this one have been delivered, this batch included."""


async def stream(connection: Connection, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
    """All changes after the revision ``after``; first an empty batch, when the watch is on.

    Raises Compacted, Replaced, Refused, StoreUnavailable.
    """
    call = connection.watch.Watch(metadata=(*_NEEDS_LEADER, *connection.metadata))
    try:
        await _write(call, WatchRequest(create_request=_create(prefix, after)))
        async for batch in _batches(call, after):
            yield batch
    except grpc.aio.AioRpcError as error:
        if is_refusal(error.code(), error.details() or ""):
            raise Refused(f"{error.code().name} {error.details()}") from error
        raise StoreUnavailable(f"{error.code().name} {error.details()}") from error
    finally:
        call.cancel()


async def _batches(call: Any, after: int) -> AsyncGenerator[Batch, None]:
    fragments: list[Change] = []
    while True:
        response = await _read(call)
        _check(response, after)
        fragments += [_change(event) for event in response.events]
        if response.created:
            yield Batch([], after)
        elif fragments and not response.fragment:
            yield Batch(fragments, fragments[-1].version)
            fragments = []


def _create(prefix: str, after: int) -> WatchCreateRequest:
    return WatchCreateRequest(
        key=prefix.encode(),
        range_end=prefix_end(prefix).encode(),
        start_revision=after + 1,
        fragment=True,
    )


def _check(response: Any, after: int) -> None:
    if response.compact_revision:
        raise Compacted(f"compacted at revision {response.compact_revision}")
    if response.canceled and _is_refusal(response.cancel_reason):
        raise Refused(f"the watch was refused: {response.cancel_reason}")
    if response.canceled:
        raise StoreUnavailable(f"the watch was cancelled: {response.cancel_reason}")
    if response.created and response.header.revision < after:
        revision = response.header.revision
        raise Replaced(
            f"its data was replaced, revision {after} by {revision}: what is missing is lost"
        )


def _is_refusal(reason: str) -> bool:
    return "permission denied" in reason.lower() or is_refusal(grpc.StatusCode.UNKNOWN, reason)


def _change(event: Any) -> Change:
    value = None if event.type == _DELETE else event.kv.value
    return Change(key=event.kv.key.decode(), value=value, version=event.kv.mod_revision)


async def _read(call: Any) -> Any:
    """The next response. A server that says nothing is asked once whether it is there."""
    reading = asyncio.ensure_future(call.read())
    try:
        await asyncio.wait({reading}, timeout=_SILENCE_SECONDS)
        if not reading.done():
            await _write(call, WatchRequest(progress_request={}))
            await asyncio.wait({reading}, timeout=_SILENCE_SECONDS)
        if not reading.done():
            raise StoreUnavailable("the watch is silent")
        if reading.cancelled():
            raise StoreUnavailable("the connection was closed")
        if reading.result() is grpc.aio.EOF:
            raise StoreUnavailable("the server ended the watch")
        return reading.result()
    finally:
        reading.cancel()


async def _write(call: Any, request: WatchRequest) -> None:
    try:
        async with asyncio.timeout(_WRITE_SECONDS):
            await call.write(request)
    except TimeoutError:
        raise StoreUnavailable("the watch takes no request") from None
    except asyncio.InvalidStateError as error:
        raise StoreUnavailable(f"the watch has ended: {error}") from error
