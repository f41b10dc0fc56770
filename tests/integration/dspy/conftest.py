"""One pool with eight LMs on a scripted server, each with a key of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from tests.support.anypod_up import anypod_up
from tests.support.lm_server import LmServer, chat, lm_server

from anypod.client import Client

LMS = ("fast", "slow", *(f"lm{number}" for number in range(2, 8)))
KEYS = {name: f"sk-{name}-{number:04d}-0123456789abcdef" for number, name in enumerate(LMS)}
WORKERS = 2


def variable(name: str) -> str:
    return f"{name.upper()}_KEY"


def manifest(url: str) -> str:
    lms = [
        {
            "name": name,
            "model": f"hosted_vllm/{name}",
            "apiBase": url,
            "apiKey": {"env": variable(name)},
            "retries": 1,
            "timeoutSeconds": 20,
        }
        for name in LMS
    ]
    lms[0] |= {"inputPrice": 1, "outputPrice": 2}
    lms[7]["maxTokens"] = 500
    # A model that takes few parameters.
    lms.append({"name": "thinker", "model": "openai/gpt-5-mini", "apiBase": url})
    spec = {"replicas": WORKERS, "executors": 2, "preload": ["dspy"], "lms": lms}
    kind = {"apiVersion": "anypod.dev/v1alpha1", "kind": "WorkerPool"}
    return yaml.safe_dump({**kind, "metadata": {"name": "default"}, "spec": spec})


@pytest.fixture(scope="package")
def serving() -> Iterator[LmServer]:
    with lm_server() as server:
        yield server


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pool's log and store are."""
    return tmp_path_factory.mktemp("dspy")


@contextmanager
def up_with_keys(folder: Path, pools: str) -> Iterator[str]:
    """The URL of a gateway with these pools, which have the keys in their environment."""
    file = folder / "pools.yaml"
    file.write_text(pools)
    with pytest.MonkeyPatch.context() as environment:
        for name, key in KEYS.items():
            environment.setenv(variable(name), key)
        with anypod_up(folder, "-f", str(file), workers=WORKERS) as (url, _):
            yield url


@pytest.fixture(scope="package")
def pool(serving: LmServer, folder: Path) -> Iterator[str]:
    """Its URL."""
    with up_with_keys(folder, manifest(serving.url)) as url:
        yield url


@pytest.fixture
def lm(serving: LmServer) -> LmServer:
    """Asked nothing yet; it says that the answer is 42."""
    serving.clear()
    serving.script = lambda _: chat(answer="42")
    return serving


@pytest.fixture
def client(pool: str) -> Iterator[Client]:
    with Client(pool, timeout=60) as client:
        yield client
