"""Whoever submits a job from the command line may have another service told of its end."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from tests.integration.cli.conftest import Cli
from tests.support.local import LocalPool, local_pool
from tests.support.receiver import receiver

MANIFEST = {
    "apiVersion": "anypod.dev/v1alpha1",
    "kind": "WorkerPool",
    "metadata": {"name": "default"},
    "spec": {"replicas": 1, "executors": 1, "webhooks": {"allowedNetworks": ["127.0.0.1/32"]}},
}
DOUBLES = "def main(n: int) -> int:\n    return 2 * n\n"

pytestmark = pytest.mark.timeout(400)  # a busy machine starts pools slowly


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPool]:
    directory = tmp_path_factory.mktemp("pool")
    (directory / "pool.yaml").write_text(json.dumps(MANIFEST))
    with local_pool(directory, "-f", "pool.yaml", workers=None) as started:
        yield started.ready()


async def test_the_url_is_told_of_the_jobs_end_and_knows_by_the_pools_secret_who_calls(
    cli: Cli, pool: LocalPool
) -> None:
    secret = (pool.directory / ".anypod/webhook-secrets/default").read_text().strip()
    program = cli.file("doubles.py", DOUBLES)
    async with receiver() as it:
        given = ("run", program, "n=21", "--async", "--webhook", it.url)
        submitted = await asyncio.to_thread(cli, *given)
        assert submitted.code == 0, submitted.err
        job = submitted.out.strip()
        (told,) = await it.heard(job)
        assert told.is_signed_with(secret)
        assert (told.document["type"], told.document["data"]["id"]) == ("job.succeeded", job)
        assert (await asyncio.to_thread(cli, "jobs", "result", job)).out == "42\n"


def test_what_may_not_be_called_is_refused_before_anything_is_submitted(cli: Cli) -> None:
    program = cli.file("doubles.py", DOUBLES)
    refused = cli("run", program, "n=1", "--async", "--webhook", "http://127.0.0.2/x", "-l", "a=b")
    assert refused.code != 0
    assert refused.err.startswith("error: bad-request: Webhook-URL: ")
    assert cli("jobs", "list", "-l", "a=b", "-o", "json").json() == []


def test_a_run_that_is_waited_for_has_none(cli: Cli) -> None:
    program = cli.file("doubles.py", DOUBLES)
    refused = cli("run", program, "n=1", "--webhook", "https://example.com/x")
    assert refused.code == 2
    assert "--async" in refused.err
