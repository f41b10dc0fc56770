"""A gateway over an etcd that asks for certificates and a password."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.rig import rig
from tests.support.secured_etcd import SecuredEtcd, secured_etcd

ECHO = "def main(x: int):\n    return x\n"


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[SecuredEtcd]:
    with secured_etcd(tmp_path / "etcd", token_seconds=1) as server:
        yield server


def options_of(etcd: SecuredEtcd) -> tuple[str, ...]:
    files = etcd.files
    return (
        *("--etcd-ca", str(files / "ca.crt"), "--etcd-cert", str(files / "tls.crt")),
        *("--etcd-key", str(files / "tls.key"), "--etcd-user", "anypod"),
        *("--etcd-password-file", str(files / "password")),
    )


async def test_it_serves_and_survives_a_restart_and_new_files(
    tmp_path: Path, etcd: SecuredEtcd
) -> None:
    async with rig(tmp_path, store=etcd.url, options=options_of(etcd)) as made:
        gateway = made.gateway
        await gateway.create(ECHO, "p")
        assert (await gateway.run("p", x=1)).outputs == 1
        assert (await gateway.run("p", headers={"X-Session-ID": "s"}, x=2)).outputs == 2
        await asyncio.to_thread(etcd.new_authority)
        await asyncio.to_thread(etcd.kill)
        await asyncio.to_thread(etcd.start)
        async with asyncio.timeout(60):
            while (await gateway.ask("PUT", "/programs/p", json={"source": ECHO + "# new\n"})
                   ).status != 200:  # fmt: skip
                await asyncio.sleep(0.1)
        await gateway.ready()
        assert (await gateway.run("p", x=3)).outputs == 3
        await gateway.stop()
        assert "first" not in await gateway.log()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--etcd-ca", "{dir}/none"), "No such file"),
        (("--etcd-user", "anypod"), "a user needs a file with the password"),
        (("--etcd-cert", "{dir}/x"), "a certificate needs its key"),
        (("--store", "sqlite:x", "--etcd-ca", "{dir}/token"), "are for etcd"),
    ],
)
async def test_a_gateway_that_is_told_half_does_not_start(
    tmp_path: Path, given: tuple[str, ...], message: str
) -> None:
    (tmp_path / "token").write_text("t")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "anypod_gateway", "--listen", "127.0.0.1:0"),
        *("--store", "etcd://127.0.0.1:1", "--pools-file", str(tmp_path / "pools.json")),
        *("--link-token-file", str(tmp_path / "token")),
        *(one.replace("{dir}", str(tmp_path)) for one in given),
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode == 2
    assert message in err.decode()
    assert "Traceback" not in err.decode()
