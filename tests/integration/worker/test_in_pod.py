"""A worker that is told everything by its environment, as in a pod."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence

import msgspec
from tests.support.lm_server import lm_server
from tests.support.worker import PATIENCE, TOKEN, Worker, _read_log, linked

from anypod.dspy import spec
from anypod.dspy.spec import Field
from anypod.resources.lms import Lm
from anypod.resources.worker_config import worker_config_in_pod
from anypod.resources.workerpool import WorkerPoolSpec
from anypod.wire.messages import Code, Usage

LOOK = """
import os, pathlib
def main():
    seen = {}
    for process in pathlib.Path("/proc").iterdir():
        if process.name.isdigit():
            for what in ("environ", "cmdline"):
                try:
                    seen[f"{process.name}/{what}"] = (process / what).read_text(errors="replace")
                except OSError:
                    pass
    files = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if n.isdigit()
             and os.path.islink(f"/proc/self/fd/{n}")]
    return {"environment": dict(os.environ), "seen": "\\n".join(seen.values()), "files": files}
"""


@contextlib.asynccontextmanager
async def pod(lms: Sequence[Lm] = (), **variables: str) -> AsyncIterator[Worker]:
    """A ready worker, started as the image's entrypoint is."""
    spec = WorkerPoolSpec(executors=1, drain_seconds=5, lms=list(lms))
    config = worker_config_in_pod("pool", spec)
    config = msgspec.structs.replace(config, host="127.0.0.1", port=0)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/tmp",
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "KUBERNETES_PORT_443_TCP": "tcp://10.0.0.1:443",
        "ANYPOD_WORKER_CONFIG": msgspec.json.encode(config).decode(),
        "ANYPOD_WORKER_NAME": "pool-workers-abc-xyz",
        "ANYPOD_LINK_TOKEN": TOKEN,
        **variables,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "anypod_worker"),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    worker = Worker(config, process, 0, [], asyncio.Condition())
    worker.reading = asyncio.create_task(_read_log(worker))
    try:
        worker.port = json.loads(await worker.wait_for_log("listening"))["port"]
        await worker.wait_for_log("worker ready")
        yield worker
    finally:
        await worker.stop()


async def test_it_has_its_pods_name_and_takes_the_links_secret_from_the_environment() -> None:
    async with pod() as worker, linked(worker) as gateway, asyncio.timeout(PATIENCE):
        assert gateway.hello is not None
        assert gateway.hello.worker == "pool-workers-abc-xyz"
        assert gateway.hello.pool == "pool"


async def test_programs_see_the_containers_environment_without_what_is_not_theirs() -> None:
    async with pod(DATABASE="db", MODEL_HOME="/models") as worker, linked(worker) as gateway:
        environment = (await gateway.run(LOOK)).outputs["environment"]
    assert environment["DATABASE"] == "db"
    assert environment["MODEL_HOME"] == "/models"
    assert not [name for name in environment if name.startswith(("ANYPOD_", "KUBERNETES_"))]


async def test_the_links_secret_is_in_nothing_that_a_program_can_open() -> None:
    async with pod() as worker, linked(worker) as gateway:
        outputs = (await gateway.run(LOOK)).outputs
    assert TOKEN not in outputs["seen"]
    assert not [file for file in outputs["files"] if "anypod-worker" in file]


MIRRORED = LOOK.replace("return {", "found = {") + "    return repr(found)[::-1]\n"
"""A worker replaces the keys that it knows; read backwards they would pass."""


async def test_keys_of_lms_are_in_nothing_that_a_program_can_open() -> None:
    keys = {"ANYPOD_LINK_LM_KEY_0": "sk-of-the-secret-0123", "IMAGE_KEY": "sk-of-the-image-0123"}
    owners = {
        "ANYPOD_WORKER_LM_0": "fast=ANYPOD_LINK_LM_KEY_0",
        "ANYPOD_WORKER_LM_1": "slow=IMAGE_KEY",
    }
    given = {**keys, **owners, "OTHER": "sk-of-the-pool-0123"}
    async with pod(**given) as worker, linked(worker) as gateway:
        seen = (await gateway.run(MIRRORED)).outputs[::-1]
    assert "sk-of-the-pool-0123" in seen
    assert not [key for key in keys.values() if key in seen]
    assert "IMAGE_KEY" not in seen


async def test_a_program_that_asks_an_lm_does_so_with_its_key() -> None:
    fields = [Field("question")], [Field("answer")]
    program = spec.encode(spec.Spec(spec.Signature(*fields), spec.Module("Predict")))
    code = Code("dspy", {spec.FILE: program}, "Predict")
    with lm_server() as asked:
        lms = [Lm(name="fast", model="hosted_vllm/fast", api_base=asked.url)]
        variables = {"ANYPOD_WORKER_LM_0": "fast=MY_KEY", "MY_KEY": "sk-of-the-image-0123"}
        async with pod(lms, **variables) as worker, linked(worker) as gateway:
            answer = await gateway.run(code, {"question": "?"})
            assert answer.outputs == {"answer": "42"}
            assert answer.result is not None
            assert answer.result.usage == Usage("fast", 1, 11, 7)
        assert asked.asked[0].key == "sk-of-the-image-0123"


async def test_without_a_secret_it_says_what_to_give() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "anypod_worker"),
        env={"PATH": os.environ["PATH"], "ANYPOD_WORKER_CONFIG": "{}"},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        _, said = await process.communicate()
    assert process.returncode == 1
    assert b"ANYPOD_LINK_TOKEN" in said
