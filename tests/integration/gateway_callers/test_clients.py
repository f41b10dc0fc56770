"""The clients and the command line with a key: where they take it from, and that they keep it."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.local import ANYPOD, PATIENCE
from tests.support.rig import Rig, rig

from anypod import AsyncClient, Client
from anypod.client import Refused, Unreachable
from anypod.client.settings import BadKey, Settings

ROOT = "root-key-of-these-tests-0123456789"
RUNS = "key-that-only-runs-0123456789"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    directory = tmp_path_factory.mktemp("clients")
    keys = directory / "keys"
    keys.mkdir()
    (keys / "root").write_text(ROOT)
    (keys / "runs").write_text(f'{{"key": "{RUNS}", "verbs": ["run"]}}')
    async with rig(directory, options=("--api-keys", str(keys)), key=ROOT) as made:
        await made.gateway.create("def main(x: int = 1):\n    return x\n", "p")
        yield made


def call(url: str, key: str | None) -> object:
    with Client(url, api_key=key) as client:
        return client.run("p").outputs


async def test_both_clients_show_the_key_that_they_are_given(made: Rig) -> None:
    url = made.gateway.url
    assert await asyncio.to_thread(call, url, RUNS) == 1
    async with AsyncClient(url, api_key=RUNS) as client:
        assert (await client.run("p")).outputs == 1
        stream = await client.stream("p")
        assert [event async for event in stream][-1]
        with pytest.raises(Refused) as refused:
            await client.programs.get("p")
        assert refused.value.type == "forbidden"
    async with AsyncClient(url, api_key="nobody-has-this-one") as client:
        with pytest.raises(Refused) as refused:
            await client.run("p")
        assert (refused.value.type, refused.value.status) == ("unauthenticated", 401)


async def test_without_one_they_take_that_of_the_environment(
    made: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = made.gateway.url
    with pytest.raises(Refused):
        await asyncio.to_thread(call, url, None)
    monkeypatch.setenv("ANYPOD_API_KEY", f" {RUNS}\n")
    assert await asyncio.to_thread(call, url, None) == 1
    with pytest.raises(Refused):
        await asyncio.to_thread(call, url, "")


async def test_a_client_and_its_failures_do_not_show_the_key() -> None:
    assert ROOT not in repr(Settings(api_key=ROOT, headers={"Authorization": f"Bearer {ROOT}"}))
    with pytest.raises(BadKey) as bad:
        Client(api_key=f"{ROOT}\nX-Other: header")
    assert ROOT not in str(bad.value)
    with pytest.raises(Unreachable) as unreachable:
        await asyncio.to_thread(call, "http://127.0.0.1:1", ROOT)
    assert ROOT not in str(unreachable.value)
    assert ROOT not in repr(vars(Client(api_key=ROOT)))


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


async def anypod(made: Rig, *arguments: str, **environment: str) -> Done:
    done = await asyncio.to_thread(
        subprocess.run,
        [ANYPOD, *arguments],
        env=os.environ | {"ANYPOD_URL": made.gateway.url, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


async def test_commands_take_the_key_from_a_file_or_the_environment(
    made: Rig, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{RUNS}\n")
    assert (await anypod(made, "run", "p", "--api-key-file", str(file))).out == "1\n"
    assert (await anypod(made, "run", "p", ANYPOD_API_KEY=RUNS)).out == "1\n"
    assert (await anypod(made, "run", "p", ANYPOD_API_KEY_FILE=str(file))).out == "1\n"
    listed = await anypod(made, "programs", "list", "--api-key-file", str(file))
    assert (listed.code, "forbidden" in listed.err) == (3, True)
    listed = await anypod(made, "programs", "list", ANYPOD_API_KEY=ROOT)
    assert (listed.code, "p " in listed.out) == (0, True)
    top = await anypod(made, "top", "--once", ANYPOD_API_KEY=ROOT)
    assert (top.code, "default" in top.out) == (0, True)


async def test_commands_without_a_good_key_say_what_to_do_and_not_the_key(
    made: Rig, tmp_path: Path
) -> None:
    none = await anypod(made, "run", "p")
    assert (none.code, "unauthenticated" in none.err) == (3, True)
    assert "--api-key-file" in none.err
    bad = await anypod(made, "run", "p", ANYPOD_API_KEY="schlüssel-schlüssel")
    assert bad.code == 2
    assert "schl" not in bad.err
    missing = await anypod(made, "run", "p", "--api-key-file", str(tmp_path / "none"))
    assert (missing.code, "No such file" in missing.err) == (2, True)
    (tmp_path / "empty").touch()
    empty = await anypod(made, "run", "p", "--api-key-file", str(tmp_path / "empty"))
    assert (empty.code, "is empty" in empty.err) == (2, True)
    told = await anypod(made, "run", "--help", ANYPOD_API_KEY=ROOT)
    assert "--api-key-file" in told.out
    assert ROOT not in told.out
