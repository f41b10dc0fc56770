"""What a process does not import at its start: each of these costs every start of it."""

import subprocess
import sys

import pytest

ETCD = {"etcd3aio", "grpc", "google.protobuf"}
KUBERNETES = {"kubernetes", "kopf"}
COMMANDS = {"typer", "rich", "yaml"}
PROGRAMS = {"dspy", "numpy", "pandas"}

LEFT_OUT = {
    "anypod_gateway.process": {
        *(ETCD | KUBERNETES | COMMANDS | PROGRAMS),
        *("sqlite3", "anypod_gateway.openapi"),
    },
    "anypod_worker.supervisor": {
        *(ETCD | KUBERNETES | COMMANDS | PROGRAMS),
        *("pydantic", "anypod.api", "anypod.resources", "anypod.store", "prometheus_client"),
    },
    "anypod_worker.zygote": {
        *(ETCD | KUBERNETES | COMMANDS | PROGRAMS),
        *("aiohttp", "asyncio", "pydantic", "anypod.api", "anypod.resources", "anypod.store"),
    },
    "anypod_operator.running": ETCD | PROGRAMS | {"anypod.api", "anypod.store"},
    "anypod.local.launcher": ETCD | KUBERNETES | PROGRAMS | {"aiohttp", "anypod.store"},
    "anypod.cli.app": {
        *(ETCD | KUBERNETES | PROGRAMS),
        *("aiohttp", "asyncio", "pydantic", "yaml", "anypod.client", "anypod.resources"),
    },
    "anypod": {"asyncio", "aiohttp", "pydantic", "msgspec", "anypod.client"},
}


def imported_by(module: str) -> set[str]:
    told = f"import sys, {module}; print(*sys.modules)"
    command = [sys.executable, "-c", told]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", LEFT_OUT)
def test_a_start_imports_nothing_that_only_some_need(module: str) -> None:
    found = imported_by(module)
    assert module in found
    assert not found & LEFT_OUT[module]
