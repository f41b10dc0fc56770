"""In a container the supervisor is process 1: the kernel guards it, and gives it all orphans."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.support import process_tree
from tests.support.privileges import needs_root
from tests.support.worker import PATIENCE, TOKEN, Worker, linked, worker_config

_UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@needs_root
async def test_as_the_first_process_it_serves_reaps_and_stops(tmp_path: Path) -> None:
    if not can_unshare():
        pytest.skip("no process namespace can be made here")
    config = worker_config()
    (tmp_path / "config").write_bytes(msgspec.json.encode(config))
    (tmp_path / "token").write_text(TOKEN)
    process = await asyncio.create_subprocess_exec(
        *(*_UNSHARE, sys.executable, "-m", "anypod_worker"),
        *("--config-file", str(tmp_path / "config"), "--token-file", str(tmp_path / "token")),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    port = 0
    async with asyncio.timeout(PATIENCE):
        async for line in process.stderr:
            if b"listening" in line:
                port = json.loads(line)["port"]
            if b"worker ready" in line:
                break
    worker = Worker(config, process, port, [], asyncio.Condition())
    async with linked(worker) as gateway:
        parents = "import os\ndef main(): return os.getppid()"
        assert (await gateway.run(parents)).outputs == 1
        killer = "import os\ndef main(): os.kill(1, 9)"
        assert (await gateway.run(killer)).result is not None
        daemon = """
import os, time
def main():
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    os._exit(3)
"""
        assert (await gateway.run(daemon)).failure.exit_code == 3
        wanted = ["anypod-worker", "anypod-zygote"] + ["anypod-executor"] * 3
        names = await process_tree.until_names_are(process.pid, wanted)
        assert names == sorted(wanted)
    (first,) = process_tree.named(process.pid, "anypod-worker")
    subprocess.run(["kill", f"-{signal.SIGTERM.value}", str(first)], check=True)
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == 0
