"""One local pool for all tests of the command line, and a way to call it as a user does."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.local import PATIENCE, LocalPool, local_pool
from tests.support.warm_cli import Result, WarmCli, warm_cli


@dataclass(frozen=True)
class Cli:
    directory: Path
    url: str
    warm: WarmCli

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Result:
        own = os.environ | {"ANYPOD_URL": self.url, **environment}
        return self.warm.run(arguments, self.directory, own, stdin)

    def file(self, name: str, content: str) -> str:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return name


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPool]:
    with local_pool(tmp_path_factory.mktemp("pool")) as started:
        yield started.ready()


@pytest.fixture(scope="module")
def warm() -> Iterator[WarmCli]:
    with warm_cli(PATIENCE) as server:
        yield server


@pytest.fixture
def cli(pool: LocalPool, tmp_path: Path, warm: WarmCli) -> Cli:
    return Cli(tmp_path, pool.url, warm)
