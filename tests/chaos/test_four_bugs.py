"""The ways in which the predecessor of AnyPod failed, through the Service of a real cluster.

tests/integration/test_four_bugs.py has all of them on processes; here what only a cluster can show:
that two gateways behind a Service never disagree, and that no worker is missing anything.
"""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support import workload
from tests.support.figures import Figure
from tests.support.installed import Release
from tests.support.standing import look, restarts
from tests.support.strangers import in_a_pod

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes

CLIENTS = 64
OPERATIONS = 5_000


def test_what_one_gateway_has_answered_the_other_knows(release: Release, figure: Figure) -> None:
    """And any worker runs it: what was just created, changed or deleted."""
    before = instances(release)
    nodes = {pod["spec"]["nodeName"] for pod in look(release).workers.values()}
    assert nodes == set(release.cluster.nodes())
    at = time.monotonic()
    told = in_a_pod(
        release,
        "workload",
        Path(workload.__file__).read_text(),
        URL=f"http://{release.name}-gateway.{release.namespace}.svc",
        ANYPOD_API_KEY=release.secret(f"{release.name}-api-keys")["admin"],
        CLIENTS=str(CLIENTS),
        OPERATIONS=str(OPERATIONS),
    )
    took = time.monotonic() - at
    tally: dict[str, Any] = json.loads(told)
    served = [requests_of(release, pod) for pod in look(release).of("gateway")]
    figure(
        f"{tally['operations']} operations of {CLIENTS} clients: {len(tally['wrong'])} wrong,"
        f" {tally['unavailable']} repeated as the store was slow, {took:.0f} s;"
        f" {', '.join(map(str, served))} requests to the gateways;"
        f" {tally['outcomes']}"
    )
    assert tally["wrong"] == []
    assert tally["operations"] >= OPERATIONS
    assert len(served) == 2
    assert all(count > OPERATIONS / 10 for count in served), served
    assert set(tally["workers"]) == set(before)
    assert instances(release) == before
    done = {outcome.partition(" ")[0] for outcome in tally["outcomes"]}
    assert done >= set(workload.HARMS)


def instances(release: Release) -> dict[str, int]:
    """Workers, and how often each was restarted."""
    return {name: restarts(pod) for name, pod in look(release).workers.items()}


def requests_of(release: Release, pod: str) -> int:
    """That it has answered, probes not counted."""
    path = f"/api/v1/namespaces/{release.namespace}/pods/{pod}:8700/proxy/metrics"
    lines = release.cluster.kubectl("get", f"--raw={path}").splitlines()
    ours = [line for line in lines if line.startswith('anypod_requests_total{outcome="')]
    return int(sum(float(line.split()[-1]) for line in ours if 'pool="default"' in line))
