"""Evaluations and optimisations outlive their gateway and their worker, or end as lost."""

import os
import signal
from collections.abc import Iterator

import pytest
from tests.integration.dspy.conftest import KEYS, WORKERS, manifest, variable
from tests.integration.dspy.test_evaluation import DATASET
from tests.integration.dspy.test_optimisation import learns
from tests.integration.dspy.test_runs import put
from tests.support.anypod_up import ready_workers
from tests.support.lm_server import LmServer, Reply
from tests.support.local import IMPATIENT_GATEWAY, LocalPool, eventually, local_pool

from anypod.client import Client, Job

pytestmark = pytest.mark.timeout(400)  # a gateway's jobs are taken over when its lease has ended
SECONDS = 200


@pytest.fixture(scope="module")
def own(
    serving: LmServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LocalPool, Client]]:
    """A pool whose processes are killed."""
    folder = tmp_path_factory.mktemp("deaths")
    (folder / "pool.yaml").write_text(manifest(serving.url))
    keys = {variable(name): key for name, key in KEYS.items()}
    arguments = ("-f", "pool.yaml")
    with (
        local_pool(
            folder, *arguments, workers=None, environment=keys, anypod=IMPATIENT_GATEWAY
        ) as pool,
        pool.ready().client(timeout=60) as client,
    ):
        yield pool, client


@pytest.fixture
def begun(own: tuple[LocalPool, Client], lm: LmServer) -> list[Job]:
    """An evaluation of a program that may not run twice, and an optimisation of one that may: both
    wait for the model, which will answer later calls at once. A second evaluation waits for them,
    as no more jobs run at once."""
    client = own[1]
    eventually(lambda: ready_workers(client) == WORKERS, "all workers are ready")
    lm.script = lambda asked: Reply(learns(asked), delay=600 if len(lm.asked) <= 2 else 0)
    again = f"again-{len(list(client.programs.list()))}"  # what was found before is no news
    put(client, "once")
    put(client, again, idempotent=True)
    jobs = [
        client.evaluate("once", DATASET, "exact-match", concurrency=1),
        client.optimize(
            again, "BootstrapFewShot", DATASET, "exact-match", concurrency=1, max_attempts=2
        ),
    ]
    lm.wait_until(lambda server: len(server.asked) == 2)
    jobs.append(client.evaluate("once", DATASET, "f1"))
    assert jobs[-1].get().state == "queued"
    return jobs


def check_the_ends(client: Client, jobs: list[Job], lm: LmServer) -> None:
    lost, optimised, waited = (job.wait(SECONDS) for job in jobs)
    assert (lost.state, lost.attempts) == ("lost", 1)
    assert lost.problem is not None
    assert lost.problem["type"] == "worker-lost"
    assert (optimised.state, optimised.attempts) == ("succeeded", 2)
    assert (waited.state, waited.attempts) == ("succeeded", 1)
    found = jobs[1].result().outputs
    latest, *_ = client.programs.revisions(optimised.program or "")
    assert latest.revision == found["revision"]
    assert latest.origin is not None
    assert latest.origin.job == jobs[1].id
    assert len(lm.asked) == 2 + 3 * len(DATASET) + 4  # it bootstraps four demos


def test_after_a_workers_death(
    own: tuple[LocalPool, Client], begun: list[Job], lm: LmServer
) -> None:
    pool, client = own
    for pid in pool.workers():
        os.kill(pid, signal.SIGKILL)
    check_the_ends(client, begun, lm)


def test_after_a_gateways_death(
    own: tuple[LocalPool, Client], begun: list[Job], lm: LmServer
) -> None:
    pool, client = own
    before = pool.gateway
    os.kill(before, signal.SIGKILL)
    eventually(lambda: pool.gateway != before, "there is another gateway")
    eventually(lambda: ready_workers(client) == WORKERS, "it serves")
    check_the_ends(client, begun, lm)
