"""What `make` installs to build images with, and where it leaves that to what there is."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "install-image-builder"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """All the commands of a machine: one without apt, whose user is root."""
    for name in ("dirname", "timeout"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    command(tmp_path / "id", "echo 0")
    return tmp_path


def command(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def install(there: Path) -> tuple[int, str]:
    done = subprocess.run(
        ["/bin/sh", SCRIPT],
        env={**os.environ, "PATH": str(there)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_without_apt_an_engine_that_answers_will_do(there: Path, engine: str) -> None:
    command(there / engine, '[ "$1" = info ]')
    assert install(there) == (0, "")


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_without_apt_and_engine_it_says_what_to_install(there: Path, engine: str) -> None:
    command(there / engine, "exit 1")
    status, told = install(there)
    assert status == 1
    assert "Please install (Debian's names): buildah runc debootstrap" in told


def test_who_is_not_root_installs_nothing(there: Path) -> None:
    command(there / "id", "echo 1000")
    assert install(there) == (0, "")
