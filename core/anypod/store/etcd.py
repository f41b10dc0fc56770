"""The driver for etcd, through etcd3aio's services.

Reads are tried again until their deadline, so one frozen server of several is passed by. A write
is sent once: if the connection breaks under way it may have happened, and doing it again could
answer Conflict to a write that was done.
"""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
import grpc.aio
from etcd3aio._protobuf import Compare
from etcd3aio.errors import (
    EtcdConnectionError,
    EtcdError,
    EtcdPermissionDeniedError,
    EtcdTransientError,
    EtcdUnauthenticatedError,
)
from etcd3aio.kv import KVService

from anypod.store import etcd_watch
from anypod.store.checks import Write, check_commit, check_key, check_keys, check_prefix, prefix_end
from anypod.store.etcd_connection import Connection, Connector
from anypod.store.etcd_login import is_refusal
from anypod.store.etcd_security import EtcdSecurity
from anypod.store.kv import (
    Conflict,
    Delete,
    Entry,
    LeaseEnded,
    Page,
    Put,
    Reset,
    StoreUnavailable,
    Synced,
    WatchEvent,
)
from anypod.store.outage import Outage

log = logging.getLogger(__name__)

_CALL_SECONDS = 5.0
_READ_SECONDS = 2.0
"""Of one attempt of a read."""

_RETRY_SECONDS = 0.05
_MAX_REFUSALS = 50
"""Of one call: until all members know a new token."""
_FIRST_CHUNK = 32
_PAGE_BYTES = 4 * 1024 * 1024
_STABLE_SECONDS = 5.0

T = TypeVar("T")
Call = Callable[[Connection], Awaitable[T]]


class EtcdStore:
    def __init__(
        self,
        endpoints: Sequence[str],
        security: EtcdSecurity = EtcdSecurity(),  # noqa: B008
    ) -> None:
        self._name = f"etcd {','.join(endpoints)}"
        self._connector = Connector(endpoints, security)

    async def get(self, key: str) -> Entry | None:
        check_key(key)
        response = await self._read(lambda at: at.kv.get(key, timeout=_READ_SECONDS))
        return _entry(response.kvs[0]) if response.kvs else None

    async def get_many(self, keys: Sequence[str]) -> tuple[list[Entry | None], int]:
        check_keys(keys)
        gets = [KVService.txn_op_get(key) for key in keys]
        response = await self._read(lambda at: at.kv.txn([], gets, timeout=_READ_SECONDS))
        found = [answer.response_range.kvs for answer in response.responses]
        return [_entry(kvs[0]) if kvs else None for kvs in found], response.header.revision

    async def commit(self, writes: Sequence[Write], *, when: Sequence[tuple[str, int]] = ()) -> int:
        check_commit(writes, when)
        compare = [
            Compare(
                result=Compare.EQUAL, target=Compare.MOD, key=key.encode(), mod_revision=version
            )
            for key, version in when
        ]
        operations = [_operation(write) for write in writes]
        try:
            response = await self._write(
                lambda at: at.kv.txn(compare, operations, timeout=_CALL_SECONDS)
            )
        except _NotFound as error:
            raise LeaseEnded(str(error)) from error
        if not response.succeeded:
            raise Conflict(f"changed meanwhile: one of {', '.join(key for key, _ in when)}")
        return int(response.header.revision)

    async def page(
        self, prefix: str, *, after: str = "", limit: int = 1000, values: bool = True
    ) -> Page:
        check_prefix(prefix)
        entries: list[Entry] = []
        size = revision = 0
        more = True
        async with aclosing(self._chunks(prefix, after, limit, values)) as chunks:
            async for chunk in chunks:
                entries += chunk.entries
                revision, more = chunk.revision, chunk.more
                size += sum(len(entry.value) for entry in chunk.entries)
                if len(entries) >= limit or size >= _PAGE_BYTES:
                    break
        return Page(entries, revision, more)

    async def grant(self, ttl_seconds: float) -> int:
        ttl = math.ceil(ttl_seconds)
        response = await self._write(lambda at: at.lease.grant(ttl, timeout=_CALL_SECONDS))
        return int(response.ID)

    async def renew(self, lease: int) -> bool:
        return await self._read(lambda at: _keep_alive(at, lease))

    async def revoke(self, lease: int) -> None:
        try:
            await self._read(lambda at: at.lease.revoke(lease, timeout=_READ_SECONDS))
        except _NotFound:
            return

    async def time_left(self, lease: int) -> float | None:
        response = await self._read(lambda at: at.lease.time_to_live(lease, timeout=_READ_SECONDS))
        return float(response.TTL) if response.TTL >= 0 else None

    async def watch(self, prefix: str) -> AsyncGenerator[WatchEvent, None]:
        check_prefix(prefix)
        outage = Outage(log, f"{self._name}: watch of {prefix}")
        delivered = 0
        while not self._connector.closed:
            try:
                if not delivered:
                    reset = await self._snapshot(prefix)
                    yield reset
                    delivered = reset.revision
                async for batch in self._follow(prefix, delivered, outage):
                    for change in batch.changes:
                        yield change
                    delivered = batch.revision
                    yield Synced(delivered)
            except etcd_watch.Compacted as error:
                if isinstance(error, etcd_watch.Replaced):
                    log.error("%s: %s", self._name, error)  # noqa: TRY400 - there is nothing to trace
                outage.failed(error)
                delivered = 0
            except StoreUnavailable as error:
                outage.failed(error)
            await outage.pause()

    def stamp(self) -> int | None:
        return None

    async def close(self) -> None:
        await self._connector.close()

    async def _follow(
        self, prefix: str, delivered: int, outage: Outage
    ) -> AsyncGenerator[etcd_watch.Batch, None]:
        connection = await self._once(_itself)
        token = connection.token
        loop = asyncio.get_running_loop()
        calm = loop.call_later(_STABLE_SECONDS, outage.over)
        try:
            async with aclosing(etcd_watch.stream(connection, prefix, delivered)) as batches:
                async for batch in batches:
                    yield batch
        except etcd_watch.Refused:
            # Old servers call every token that they do not know a want of permission; that it is
            # one shows when a new token is refused too.
            login = connection.login
            if login is None or not login.refuse(token, unless_younger=_STABLE_SECONDS):
                raise
        except StoreUnavailable:
            self._connector.failed(connection)
            raise
        finally:
            calm.cancel()

    async def _snapshot(self, prefix: str) -> Reset:
        entries: list[Entry] = []
        revision, more = 0, True
        async with aclosing(self._chunks(prefix, "", None, True)) as chunks:
            async for chunk in chunks:
                entries += chunk.entries
                revision, more = chunk.revision, chunk.more
        if more:
            raise etcd_watch.Compacted("compacted while it was read")
        return Reset(entries, revision)

    async def _chunks(
        self, prefix: str, after: str, limit: int | None, values: bool
    ) -> AsyncGenerator[Page, None]:
        """The keys in pieces of some MiB, all at the revision of the first; ends early, with
        ``more`` still true, when the store forgets that revision meanwhile."""
        start, end = max(prefix, after + "\0"), prefix_end(prefix)
        revision, size, more = 0, _FIRST_CHUNK, True
        while more and limit != 0:
            count = min(size, limit) if limit is not None else size
            try:
                response = await self._range(start, end, revision, count, values)
            except _OutOfRange:
                return
            revision = revision or response.header.revision
            entries = [_entry(kv) for kv in response.kvs]
            more = response.more
            yield Page(entries, revision, more)
            if limit is not None:
                limit -= len(entries)
            if entries:
                start = entries[-1].key + "\0"
                size = _next_count(entries)

    async def _range(self, start: str, end: str, revision: int, limit: int, values: bool) -> Any:
        return await self._read(
            lambda at: at.kv.get(
                start,
                range_end=end,
                revision=revision,
                limit=limit,
                keys_only=not values,
                timeout=_READ_SECONDS,
            )
        )

    async def _read(self, call: Call[T]) -> T:
        """A call that changes nothing, or the same when done twice."""
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                while True:
                    try:
                        return await self._once(call)
                    except _NoAnswer:
                        await asyncio.sleep(_RETRY_SECONDS)
        except TimeoutError:
            raise StoreUnavailable(f"{self._name}: no answer in {_CALL_SECONDS:g} s") from None

    async def _write(self, call: Call[T]) -> T:
        try:
            async with asyncio.timeout(2 * _CALL_SECONDS):
                return await self._once(call)
        except TimeoutError:
            raise StoreUnavailable(f"{self._name}: no answer in time") from None

    async def _once(self, call: Call[T]) -> T:
        """Sent once: what is refused for its token was not done, and does not count."""
        for _ in range(_MAX_REFUSALS):
            connection = await self._connector.connection()
            try:
                return await self._send(connection, call)
            except _Refused as refused:
                if connection.login is None:
                    raise
                if not connection.login.refuse(refused.token):
                    await asyncio.sleep(_RETRY_SECONDS)
        raise StoreUnavailable(f"{self._name}: every new token is refused")

    async def _send(self, connection: Connection, call: Call[T]) -> T:
        token = ""
        try:
            await connection.log_in()
            token = connection.token
            return await call(connection)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # gRPC's way to say that the channel was closed under the call.
            raise StoreUnavailable(f"{self._name}: the connection was closed") from None
        except (EtcdConnectionError, EtcdTransientError, TimeoutError) as error:
            self._connector.failed(connection)
            raise _NoAnswer(f"{self._name}: {error or 'no answer in time'}") from error
        except EtcdUnauthenticatedError as error:
            raise _Refused(f"{self._name}: {error}", token) from error
        except EtcdPermissionDeniedError as error:
            if not token and connection.login is not None:
                # It asked for no token when we came, and goes by the name in our certificate now.
                raise _Refused(f"{self._name}: {error}", token) from error
            raise StoreUnavailable(f"{self._name}: {error}") from error
        except EtcdError as error:
            raise StoreUnavailable(f"{self._name}: {error}") from error
        except grpc.aio.AioRpcError as error:
            if is_refusal(error.code(), error.details() or ""):
                raise _Refused(f"{self._name}: {error.details()}", token) from error
            raise _STATUS.get(error.code(), StoreUnavailable)(
                f"{self._name}: {error.code().name} {error.details()}"
            ) from error


class _NoAnswer(StoreUnavailable):
    """The connection broke, or time ran out; the call may have been sent."""


class _Refused(StoreUnavailable):
    """The token does not hold; the call was not done."""

    def __init__(self, text: str, token: str) -> None:
        super().__init__(text)
        self.token = token


class _NotFound(StoreUnavailable):
    """There is no such lease."""


class _OutOfRange(StoreUnavailable):
    """The revision asked for has been compacted."""


_STATUS = {grpc.StatusCode.NOT_FOUND: _NotFound, grpc.StatusCode.OUT_OF_RANGE: _OutOfRange}


async def _itself(connection: Connection) -> Connection:
    """For a call that is made past the services."""
    return connection


def _entry(kv: Any) -> Entry:
    return Entry(key=kv.key.decode(), value=kv.value, version=kv.mod_revision, lease=kv.lease)


def _operation(write: Write) -> Any:
    if isinstance(write, Put):
        return KVService.txn_op_put(write.key, write.value, lease=write.lease)
    if isinstance(write, Delete):
        return KVService.txn_op_delete(write.key)
    return KVService.txn_op_delete(write.prefix, range_end=prefix_end(write.prefix))


def _next_count(entries: Sequence[Entry]) -> int:
    size = sum(len(entry.key) + len(entry.value) for entry in entries)
    return max(1, min(1000, _PAGE_BYTES * len(entries) // size))


async def _keep_alive(connection: Connection, lease: int) -> bool:
    call = connection.lease.keep_alive(lease)
    try:
        async with asyncio.timeout(_READ_SECONDS):
            response = await call.read()
    finally:
        call.cancel()
    if response is grpc.aio.EOF:
        raise EtcdConnectionError("the stream of the lease ended")
    return bool(response.TTL > 0)
