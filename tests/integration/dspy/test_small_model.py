"""A real language model, small enough to come in a package, answers as the scripted one does."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import yaml
from tests.support.anypod_up import anypod_up
from tests.support.pages import ROOT
from tests.support.ports import free_port

from anypod.client import Client

EXAMPLES = ROOT / "examples"
SECONDS = 120


@pytest.fixture(scope="module")
def api_base() -> Iterator[str]:
    command = [sys.executable, str(EXAMPLES / "small_model.py"), "--port", str(free_port())]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            assert process.wait(SECONDS) == 0


@pytest.fixture(scope="module")
def client(api_base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("small-model")
    manifest = yaml.safe_load((EXAMPLES / "small_model_pool.yaml").read_text())
    manifest["spec"]["lms"][0]["apiBase"] = api_base
    (folder / "pool.yaml").write_text(yaml.safe_dump(manifest))
    with (
        anypod_up(folder, "-f", str(folder / "pool.yaml"), workers=2) as (url, _),
        Client(url, timeout=SECONDS) as client,
    ):
        capital = yaml.safe_load((EXAMPLES / "capital_city.yaml").read_text())
        client.programs.put("capital_city", **capital)
        yield client


def test_it_answers(client: Client) -> None:
    answer = client.run("capital_city", {"country": "France"}, timeout=SECONDS)
    assert answer.outputs == {"capital": "Paris"}
    usage = answer.execution.usage
    assert usage is not None
    assert (usage.lm, usage.calls) == ("small", 1)
    assert usage.prompt_tokens > 100
    assert usage.completion_tokens > 0


def test_its_tokens_come_one_by_one(client: Client) -> None:
    with client.stream("capital_city", {"country": "France"}, timeout=SECONDS) as events:
        *pieces, result = events
    assert "".join(piece.data["text"] for piece in pieces) == "Paris"
    assert result.outputs == {"capital": "Paris"}
