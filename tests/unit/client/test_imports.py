"""What a user imports costs only what it needs."""

import subprocess
import sys
from pathlib import Path

import pytest


def test_a_program_that_imports_anypod_loads_no_client() -> None:
    _assert_not_loaded("import anypod", {"aiohttp", "urllib3", "pydantic", "msgspec"})


def test_the_blocking_client_does_not_load_the_other_one() -> None:
    _assert_not_loaded("from anypod import Client", {"aiohttp", "asyncio.runners"})


def test_every_public_name_can_be_imported() -> None:
    import anypod
    import anypod.client

    for module in (anypod, anypod.client):
        for name in module.__all__:
            assert getattr(module, name) is not None


def test_a_name_that_there_is_not_is_none() -> None:
    import anypod
    import anypod.client

    for module in (anypod, anypod.client):
        assert not hasattr(module, "Clinet")


GOOD = """
from anypod import AnyPodError, AsyncClient, Chunk, Client, Item, NotFound, progress, session
from anypod.client import Answer, LogText

def follow(client: Client) -> list[str]:
    told = []
    try:
        with client.stream("count", {"n": 3}) as events:
            for event in events:
                match event:
                    case Chunk():
                        told.append(str(event.data))
                    case LogText():
                        told.append(event.text)
                    case Answer():
                        told.append(str(event.execution.id))
    except NotFound as missing:
        told.append(missing.type)
    return told
"""
WRONG = """
import anypod
from anypod import Clinet
from anypod.client import Chunck
def run(client: anypod.Client) -> None:
    client.rnu("square")
    anypod.Clinet()
"""


@pytest.mark.timeout(100)
def test_who_checks_types_is_told_of_names_that_there_are_not(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "wrong.py").write_text(WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "cache"]
    done = subprocess.run(
        [*command, "good.py", "wrong.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    told = [line.partition(" error: ")[::2] for line in done.stdout.splitlines()[:-1]]
    assert [(where, what.partition(";")[0]) for where, what in told] == [
        ("wrong.py:3:", 'Module "anypod" has no attribute "Clinet"'),
        ("wrong.py:4:", 'Module "anypod.client" has no attribute "Chunck"'),
        ("wrong.py:6:", '"Client" has no attribute "rnu"  [attr-defined]'),
        ("wrong.py:7:", 'Module has no attribute "Clinet"'),
    ], done.stdout + done.stderr


def _assert_not_loaded(statement: str, heavy: set[str]) -> None:
    script = f"{statement}\nimport sys\nsys.exit(str({heavy!r} & set(sys.modules) or ''))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""
