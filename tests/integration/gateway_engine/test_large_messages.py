"""What is large travels, or fails alone: nobody else on its worker loses a run."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.engine import Gateway, Site, gateway, request, site
from tests.support.worker import code_of, revision_of

from anypod.api.problems import AnyPodError

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAIT = (
    "import pathlib, time\n"
    "def main(begun, end):\n"
    "    pathlib.Path(begun).touch()\n"
    "    while not pathlib.Path(end).exists():\n"
    "        time.sleep(0.01)\n"
    "    return 'ended'\n"
)
KEEP = (
    "def main(session, size=0):\n"
    "    if size:\n"
    "        session.state['text'] = 'x' * size\n"
    "    return len(session.state.get('text', ''))\n"
)
NAMES = (
    "from enum import Enum\n"
    "E = Enum('E', [(f'a{i}', 'x' * 100 + str(i)) for i in range(12_000)])\n"
    "def main(one: E) -> str: return one.value\n"
)
"""Schemas of more than a megabyte."""
FORGE = (
    "import sys, time\n"
    "from anypod_worker import frames\n"
    "def main(size):\n"
    "    frame = sys._getframe()\n"
    "    while not isinstance(frame.f_locals.get('frame'), frames.Run):\n"
    "        frame = frame.f_back\n"
    "    id, wire = frame.f_locals['frame'].id, frame.f_locals['self']._wire\n"
    "    data = b'\"' + b'x' * size + b'\"'\n"
    "    wire.send(%s)\n"
    "    time.sleep(0.2)\n"
)
FORGED = {
    "outputs": "frames.Done(id, 0.0, data)",
    "state": "frames.Done(id, 0.0, b'1', state=data)",
    "failure": "frames.Done(id, 0.0, failure=frames.Failure('program-error', data.decode()))",
    "an item": "frames.Chunk(id, data)",
}
FORGED_CHECK = (
    "import sys\n"
    "from anypod_worker import frames\n"
    "frame = sys._getframe()\n"
    "while not isinstance(frame.f_locals.get('frame'), frames.Check):\n"
    "    frame = frame.f_back\n"
    "id, wire = frame.f_locals['frame'].id, frame.f_locals['self']._wire\n"
    "wire.send(frames.Checked(id, None, b'\"' + b'x' * 6_000_000 + b'\"'))\n"
    "def main(): pass\n"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    limits = {"memory": "512Mi", "bodyBytes": "64Ki"}
    async with site(tmp_path_factory.mktemp("place"), limits=limits, executors=3) as place:
        await place.start("w1")
        yield place


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(place: Site) -> AsyncIterator[Gateway]:
    async with gateway(place) as front:
        await front.sees("w1")
        yield front


@contextlib.asynccontextmanager
async def bystander(front: Gateway, directory: Path) -> AsyncIterator[None]:
    """Another caller's run is not harmed by what is done meanwhile."""
    begun, end = directory / "begun", directory / "end"
    running = asyncio.ensure_future(front.run(WAIT, {"begun": str(begun), "end": str(end)}))
    async with asyncio.timeout(30):
        while not begun.exists():
            await asyncio.sleep(0.01)
    try:
        yield
    finally:
        end.touch()
        assert json.loads((await running).outputs) == "ended"


async def failure_of(work: Any) -> AnyPodError:
    with pytest.raises(AnyPodError) as caught:
        await asyncio.wait_for(work, 60)
    return caught.value


async def test_a_state_may_be_larger_than_a_body_and_comes_back_after_a_loss(
    front: Gateway, tmp_path: Path
) -> None:
    async with bystander(front, tmp_path):
        assert await front.outputs(KEEP, {"size": 1_000_000}, session="s") == 1_000_000
        await failure_of(front.run("import os\ndef main(): os._exit(1)", session="s"))
        assert await front.outputs(KEEP, session="s") == 1_000_000


async def test_code_may_be_larger_than_a_body(front: Gateway, tmp_path: Path) -> None:
    source = "def main(): return 1\n" + "#" * 1_000_000
    code = code_of(source)
    async with bystander(front, tmp_path):
        loop = asyncio.get_running_loop()
        checked = await front.pool.runner.check(revision_of(code), code, loop.time() + 30)
        assert checked.failure is None
        assert await front.outputs(source + "#") == 1


async def test_schemas_above_what_the_store_takes_are_an_invalid_program(
    front: Gateway, tmp_path: Path
) -> None:
    for source in NAMES, FORGED_CHECK:
        code = code_of(source)
        async with bystander(front, tmp_path):
            loop = asyncio.get_running_loop()
            checked = await front.pool.runner.check(revision_of(code), code, loop.time() + 60)
            assert checked.failure is not None
            assert checked.failure.type == "invalid-program"
            assert "schemas" in checked.failure.detail


@pytest.mark.parametrize(
    ("what", "size"),
    [
        ("outputs", 100_000),
        ("outputs", 6_000_000),
        ("state", 6_000_000),
        ("failure", 6_000_000),
        ("an item", 100_000),
        ("an item", 6_000_000),
    ],
)
async def test_what_a_program_forges_fails_its_own_run(
    what: str, size: int, front: Gateway, tmp_path: Path
) -> None:
    async with bystander(front, tmp_path):
        asked = request(FORGE % FORGED[what], {"size": size})
        failure = await failure_of(anext(front.pool.runner.stream(asked)))
        assert failure.problem.type == "output-too-large", failure.problem


async def test_who_sends_items_without_credit_fails_alone(front: Gateway, tmp_path: Path) -> None:
    flood = "frames.Chunk(id, data))\n    for _ in range(40): wire.send(frames.Chunk(id, data)"
    async with bystander(front, tmp_path):
        stream = front.pool.runner.stream(request(FORGE % flood, {"size": 60_000}))
        await anext(stream)
        await asyncio.sleep(0.2)  # it is not read meanwhile
        failure = await failure_of(_read(stream))
        assert failure.problem.type == "output-too-large"


async def _read(stream: AsyncIterator[Any]) -> None:
    async for _ in stream:
        pass


async def test_what_many_print_at_once_travels_apart(front: Gateway) -> None:
    source = "import sys\nasync def main(): sys.stdout.write('\\xff' * 32_000)"
    source = source.replace("main():", "main():\n    import asyncio; await asyncio.sleep(0.2);")
    answers = await asyncio.gather(
        *(front.run(source, concurrency=32, logs=True) for _ in range(32))
    )
    assert all(one.printed is not None and len(one.printed.stdout) == 32_000 for one in answers)


async def test_one_of_many_may_print_more_than_a_frame_holds(front: Gateway) -> None:
    source = "async def main(): print('x' * 20_000_000)"
    answer = await front.run(source, concurrency=4, logs=True)
    assert answer.printed is not None
    assert answer.printed.cut_bytes > 19_000_000
