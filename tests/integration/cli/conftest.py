"""One local pool for all tests of the command line, and a way to call it as a user does."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.local import ANYPOD, PATIENCE, LocalPool, local_pool


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Cli:
    directory: Path
    url: str

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Result:
        done = subprocess.run(
            [ANYPOD, *arguments],
            cwd=self.directory,
            env=os.environ | {"ANYPOD_URL": self.url, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def file(self, name: str, content: str) -> str:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return name


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPool]:
    with local_pool(tmp_path_factory.mktemp("pool")) as started:
        yield started.ready()


@pytest.fixture
def cli(pool: LocalPool, tmp_path: Path) -> Cli:
    return Cli(tmp_path, pool.url)
