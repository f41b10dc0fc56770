"""What a builder is told by build arguments, and what is not built twice."""

import dataclasses
import os
import shutil
import time
from pathlib import Path

import pytest
from tests.cluster import images
from tests.cluster.archives import Archive
from tests.cluster.images import containers, recipes
from tests.cluster.images.commands import CommandFailed
from tests.cluster.images.containers import Order

Images = dict[str, Archive]
OTHER = dataclasses.replace(recipes.WORKER, name="localhost/anypod-worker:of-a-test")

pytestmark = pytest.mark.timeout(1800)


def test_what_was_built_is_not_built_again(
    built: Images, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = [name for name in ("debootstrap", "apt-get", "nice") if shutil.which(name)]
    for command in there:  # the first two say which base there would be
        (tmp_path / command).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert images.archives() == [image.path for image in built.values()]


def test_the_newest_use_counts(built: Images) -> None:
    path = built[images.WORKER].path
    os.utime(path, (0, 0))
    images.archive(images.WORKER)
    assert path.stat().st_mtime > time.time() - 60


@pytest.mark.usefixtures("built")
def test_an_unknown_extra_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"no such extra: .'nonsense'.; there are .*'worker'"):
        recipes.build(OTHER, tmp_path / "archive.tar", EXTRAS="nonsense")


@pytest.mark.usefixtures("runnable")
def test_programs_get_the_requirements_that_were_asked_for(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    recipes.build(OTHER, archive, EXTRAS="cli", REQUIREMENTS="sortedcontainers>=2.4 iniconfig")
    check = ["anypod_worker", "--help"]
    with containers.running(Order(archive, check)) as container:
        assert container.until_ended() == 0
    paths = {file.path for file in Archive(archive).files()}
    for module in ("typer", "sortedcontainers", "iniconfig"):
        assert any(path.endswith(f"/site-packages/{module}/__init__.py") for path in paths)
    pinned = [line for line in constraints() if line.startswith("sortedcontainers==")]
    (version,) = (line.partition("==")[2] for line in pinned)
    assert any(f"/sortedcontainers-{version}.dist-info/" in path for path in paths)


def constraints() -> list[str]:
    return (recipes.ROOT / "constraints.txt").read_text().splitlines()
