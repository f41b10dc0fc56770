"""What a user imports costs only what it needs."""

import subprocess
import sys


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


def _assert_not_loaded(statement: str, heavy: set[str]) -> None:
    script = f"{statement}\nimport sys\nsys.exit(str({heavy!r} & set(sys.modules) or ''))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""
