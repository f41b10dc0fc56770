"""The clusters of a run's tests: one for each folder that has a fixture of this.

With ``--keep`` there is one for all of them, which is left up.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cluster import Cluster, images, why_none
from tests.cluster.providers import fulfil
from tests.cluster.pytest_options import why_no_images, wishes

CRDS = Path(__file__).parents[2] / "crds"
CRD = "crd/workerpools.anypod.dev"


def skip_if_theirs(cluster: Cluster, why: str) -> None:
    """For tests that reach beyond the namespaces which they made."""
    if cluster.theirs:
        pytest.skip(f"not on a cluster that was there before: {why}")


def cluster_of(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two nodes that have the project's images, with the custom resource installed."""
    keep = bool(request.config.getoption("--keep"))
    wished = wishes(request.config, keep=keep)
    reason = why_none(wished.provider) or why_no_images(request.config)
    if reason is not None:
        pytest.skip(f"e2e: {reason}")
    archives: list[Path] = []
    if wished.provider != "existing":  # whose images are others' business
        try:
            archives = images.archives()
        except images.CannotBuild as cannot:
            pytest.skip(f"e2e: no images: {cannot}")
    started = fulfil(replace(wished, archives=archives))
    with contextlib.ExitStack() as ends:
        ends.callback(started.down)
        if not started.theirs or not started.kubectl("get", CRD, "--ignore-not-found"):
            started.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
            if started.theirs:
                ends.callback(started.kubectl, "delete", CRD)
        started.kubectl("wait", "--for=condition=Established", CRD)
        yield started
