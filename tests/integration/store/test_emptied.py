"""What a deleted pool has left is deleted by the command that the documentation names."""

import asyncio
import re
import shutil
from pathlib import Path

import pytest
from tests.support.etcd import EtcdServer

from anypod.store.keys import PoolKeys
from anypod.store.kv import Put
from anypod.store.open import open_store

PAGE = Path(__file__).parents[3] / "docs/operator.md"


def keys_of(pool: PoolKeys) -> list[str]:
    """One of each kind."""
    job, of_session = "j-" + "0" * 32, pool.session_programs("s")
    return [
        *(pool.changes, pool.pin("s"), pool.state("s"), pool.once("0" * 16)),
        *(pool.programs.head("p"), pool.programs.history("p"), of_session.head("p")),
        *(pool.programs.revision("p", "0" * 64), of_session.revision("p", "0" * 64)),
        *(pool.jobs.open(job), pool.jobs.record(job), pool.jobs.delivery(job)),
    ]


async def test_the_command_empties_one_pool_and_no_other(shared_etcd: EtcdServer) -> None:
    program = shutil.which("etcdctl")
    if program is None:
        pytest.skip("no etcdctl on PATH (apt-get install etcd-client)")
    said = re.search(
        r"(del --prefix \S+NAMESPACE/POOL/)\n", await asyncio.to_thread(PAGE.read_text)
    )
    assert said is not None
    command = said[1].replace("NAMESPACE", "emptied").replace("POOL", "texts").split()
    gone = keys_of(PoolKeys("emptied", "texts"))
    left = [*keys_of(PoolKeys("emptied", "texts-b")), *keys_of(PoolKeys("emptied-b", "texts"))]
    store = await asyncio.to_thread(open_store, shared_etcd.url)
    for key in (*gone, *left):
        await store.commit([Put(key, b"x")])
    etcdctl = await asyncio.create_subprocess_exec(
        program, f"--endpoints={shared_etcd.endpoint}", *command, env={"ETCDCTL_API": "3"}
    )
    async with asyncio.timeout(30):
        assert await etcdctl.wait() == 0
    assert [key for key in gone if await store.get(key) is not None] == []
    assert [key for key in left if await store.get(key) is None] == []
    await store.close()
