"""etcd with certificates and passwords: who gets in, and life goes on when these change or end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.store.test_etcd_faults import following
from tests.support.secured_etcd import USER, SecuredEtcd, secured_etcd

from anypod.store.etcd import EtcdStore
from anypod.store.etcd_security import EtcdSecurity
from anypod.store.kv import Conflict, Delete, Put, StoreUnavailable

TOKEN_SECONDS = 1
IDLE_SECONDS = 2.5
"""For a token to end; the server looks once a second."""


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[SecuredEtcd]:
    with secured_etcd(tmp_path / "etcd", token_seconds=TOKEN_SECONDS) as server:
        yield server


@asynccontextmanager
async def opened(*endpoints: str, security: EtcdSecurity) -> AsyncIterator[EtcdStore]:
    store = EtcdStore(endpoints, security)
    try:
        yield store
    finally:
        await store.close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


async def test_all_calls_work_with_certificates_and_a_password(etcd: SecuredEtcd) -> None:
    async with (
        opened(etcd.endpoint, security=etcd.security) as store,
        following(store, "/w/") as follower,
    ):
        version = await store.commit([Put("/w/a", b"1")], when=[("/w/a", 0)])
        with pytest.raises(Conflict):
            await store.commit([Put("/w/a", b"2")], when=[("/w/a", 0)])
        entry = await store.get("/w/a")
        assert entry is not None
        assert entry.version == version
        found, _ = await store.get_many(["/w/a", "/w/b"])
        assert [one is not None for one in found] == [True, False]
        assert len((await store.page("/w/")).entries) == 1
        lease = await store.grant(30)
        assert await store.renew(lease)
        assert await store.time_left(lease) is not None
        await store.commit([Put("/w/leased", b"", lease)])
        await store.revoke(lease)
        last = await store.commit([Delete("/w/a")])
        await follower.until(lambda: follower.revision >= last)
        assert follower.values == {}


async def test_a_token_that_ends_idle_fails_neither_a_call_nor_a_watch(
    etcd: SecuredEtcd, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        opened(etcd.endpoint, security=etcd.security) as store,
        following(store, "/w/") as follower,
    ):
        lease = await store.grant(60)
        for round_ in range(3):
            await asyncio.sleep(IDLE_SECONDS)  # nothing but time ends a token
            match round_:
                case 0:
                    version = await store.commit([Put("/w/a", b"%d" % round_)])
                case 1:
                    assert await store.get("/w/a") is not None
                    assert await store.renew(lease)
                case _:
                    calls = [store.commit([Put(f"/w/{n}", b"")]) for n in range(20)]
                    version = max(await asyncio.gather(*calls))
            await follower.until(lambda version=version: follower.revision >= version)  # type: ignore[misc]
        await asyncio.sleep(IDLE_SECONDS)
        async with following(store, "/w/") as second:
            await second.until(lambda: len(second.values) == 21)
            version = await store.commit([Delete("/w/a")])
            await second.until(lambda: second.revision >= version)
    assert follower.resets == 1
    assert warnings(caplog) == []


async def test_a_restart_which_forgets_all_tokens_loses_no_change(
    etcd: SecuredEtcd, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        opened(etcd.endpoint, security=etcd.security) as store,
        following(store, "/w/") as follower,
    ):
        for round_ in range(3):
            version = await store.commit([Put("/w/a", b"%d" % round_)])
            await follower.until(lambda version=version: follower.revision >= version)  # type: ignore[misc]
            await asyncio.to_thread(etcd.kill)
            await asyncio.to_thread(etcd.start)
            assert await store.get("/w/a") is not None
        version = await store.commit([Put("/w/b", b"")])
        await follower.until(lambda: follower.revision >= version)
    assert follower.resets == 1
    assert [change.value for change in follower.changes] == [b"0", b"1", b"2", b""]


async def test_a_watch_alone_gets_a_new_token_after_a_restart(etcd: SecuredEtcd) -> None:
    """Nothing else of its store is called that could get one."""
    async with (
        opened(etcd.endpoint, security=etcd.security) as watching,
        opened(etcd.endpoint, security=etcd.security) as writing,
        following(watching, "/w/") as follower,
    ):
        version = await writing.commit([Put("/w/a", b"1")])
        await follower.until(lambda: follower.revision >= version)
        await asyncio.to_thread(etcd.kill)
        await asyncio.to_thread(etcd.start)
        last = await writing.commit([Put("/w/a", b"2")])
        await follower.until(lambda: follower.revision >= last)
    assert follower.resets == 1
    assert [change.value for change in follower.changes] == [b"1", b"2"]


async def test_changes_of_users_and_roles_fail_no_call(etcd: SecuredEtcd) -> None:
    """Each makes every token void."""
    async with (
        opened(etcd.endpoint, security=etcd.security) as store,
        following(store, "/w/") as follower,
    ):
        for number in range(5):
            await store.commit([Put("/w/a", b"%d" % number)])
            await etcd.as_root("user_add", f"user-{number}", "password")
            version = await store.commit([Put("/w/b", b"%d" % number)])
            await follower.until(lambda version=version: follower.revision >= version)  # type: ignore[misc]
    assert follower.resets == 1


async def test_a_new_password_is_read_from_its_file(etcd: SecuredEtcd) -> None:
    async with opened(etcd.endpoint, security=etcd.security) as store:
        await store.commit([Put("/w/a", b"1")])
        await asyncio.to_thread(etcd.write_password, "second")
        await etcd.as_root("user_change_password", USER, "second")
        assert await store.get("/w/a") is not None
        await store.commit([Put("/w/a", b"2")])


async def test_a_wrong_password_is_said_without_it_and_mended_when_the_file_is(
    etcd: SecuredEtcd,
) -> None:
    await asyncio.to_thread(etcd.write_password, "wrong-password")
    async with opened(etcd.endpoint, security=etcd.security) as store:
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="does not let 'anypod' in") as refused:
                await store.get("/w/a")
            assert "wrong-password" not in str(refused.value)
        await asyncio.to_thread(etcd.write_password, "first")
        async with asyncio.timeout(30):
            while True:
                try:
                    await store.commit([Put("/w/a", b"")])
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.1)


async def test_what_its_roles_do_not_name_stays_closed(
    etcd: SecuredEtcd, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(etcd.endpoint, security=etcd.security) as store:
        with pytest.raises(StoreUnavailable, match="denied"):
            await store.get("/other/a")
        with pytest.raises(StoreUnavailable, match="denied"):
            await store.commit([Put("/other/a", b"")])


async def test_without_a_user_or_a_certificate_there_is_no_answer(etcd: SecuredEtcd) -> None:
    no_certificate = EtcdSecurity(ca=etcd.security.ca)
    for security in (etcd.without_user, no_certificate, EtcdSecurity()):
        async with opened(etcd.endpoint, security=security) as store:
            with pytest.raises(StoreUnavailable):
                await store.get("/w/a")


async def test_a_server_that_another_authority_signed_is_not_spoken_to(
    etcd: SecuredEtcd, tmp_path: Path
) -> None:
    other = SecuredEtcd(tmp_path / "other")
    security = replace(etcd.security, ca=other.security.ca)
    async with opened(etcd.endpoint, security=security) as store:
        with pytest.raises(StoreUnavailable):
            await store.get("/w/a")


async def test_a_server_of_another_name_is_spoken_to_only_if_that_is_said(
    tmp_path: Path,
) -> None:
    server = SecuredEtcd(tmp_path / "named")
    server.new_authority("DNS:etcd.anypod.svc")
    server.start()
    try:
        plain = server.without_user
        async with opened(server.endpoint, security=plain) as store:
            with pytest.raises(StoreUnavailable):
                await store.get("/w/a")
        named = replace(plain, server_name="etcd.anypod.svc")
        for endpoints in ([server.endpoint], [server.endpoint, "127.0.0.1:1"]):
            async with opened(*endpoints, security=named) as store:
                assert await store.get("/w/a") is None
    finally:
        server.kill()


async def test_rotated_certificates_are_used_for_the_next_connection(
    etcd: SecuredEtcd, caplog: pytest.LogCaptureFixture
) -> None:
    """Another authority altogether: nothing of before is of use."""
    async with (
        opened(etcd.endpoint, security=etcd.security) as store,
        following(store, "/w/") as follower,
    ):
        await store.commit([Put("/w/a", b"1")])
        await asyncio.to_thread(etcd.new_authority)
        await store.commit([Put("/w/a", b"2")])  # a connection that is up stays
        await asyncio.to_thread(etcd.kill)
        await asyncio.to_thread(etcd.start)
        async with asyncio.timeout(60):
            while True:
                try:
                    version = await store.commit([Put("/w/a", b"3")])
                    break
                except StoreUnavailable:
                    continue
        await follower.until(lambda: follower.revision >= version)
    assert follower.resets == 1
    assert follower.values == {"/w/a": b"3"}


async def test_several_names_are_verified_by_the_first_ones(etcd: SecuredEtcd) -> None:
    port = etcd.port
    for endpoints in (
        [f"localhost:{port}"],
        [f"localhost:{port}", f"127.0.0.1:{port}"],
        [f"127.0.0.1:{port}", "127.0.0.1:1"],
    ):
        async with opened(*endpoints, security=etcd.security) as store:
            await store.commit([Put("/w/a", b"")])


async def test_a_user_where_nobody_is_asked_for_one_does_no_harm_and_counts_later(
    tmp_path: Path,
) -> None:
    server = SecuredEtcd(tmp_path / "open")
    server.start()
    try:
        async with opened(server.endpoint, security=server.security) as store:
            await store.commit([Put("/w/a", b"")])
            await server.enable_authentication()
            await store.commit([Put("/w/a", b"")])
    finally:
        server.kill()
