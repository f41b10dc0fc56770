"""One cluster for a run, one namespace for a test, and a report that explains a failure.

With ``--keep`` the cluster is left up, and a failed test's namespace in it.
"""

import contextlib
import secrets
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.cluster import Cluster, images, why_none
from tests.cluster.providers import fulfil
from tests.cluster.pytest_options import why_no_images, wishes
from tests.support.happenings import Happenings
from tests.support.in_cluster import Place

CRDS = Path(__file__).parents[2] / "crds"
CRD = "crd/workerpools.anypod.dev"
FAILED = pytest.StashKey[bool]()
HAPPENINGS = pytest.StashKey[Happenings]()


@pytest.fixture(scope="package")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
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
        theirs = started.provider == "existing"  # and left as it was
        if not theirs or not started.kubectl("get", CRD, "--ignore-not-found"):
            started.kubectl("apply", "--server-side", "-f", str(CRDS))
            if theirs:
                ends.callback(started.kubectl, "delete", CRD)
        started.kubectl("wait", "--for=condition=Established", CRD)
        yield started


@pytest.fixture
async def place(
    cluster: Cluster, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Place]:
    """A fresh namespace; what goes on in it is in the report if the test fails."""
    about = request.node.originalname.removeprefix("test_")[:30].replace("_", "-").strip("-")
    # With --keep there may be namespaces of an earlier run.
    made = Place(cluster, f"e2e-{about}-{secrets.token_hex(3)}")
    cluster.kubectl("create", "namespace", made.namespace)
    with Happenings(cluster, made.namespace, tmp_path / "happenings") as happenings:
        request.node.stash[HAPPENINGS] = happenings
        yield made
    if request.node.stash.get(FAILED, False) and request.config.getoption("--keep"):
        return
    cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and (happenings := item.stash.get(HAPPENINGS, None)) is not None:
        item.stash[FAILED] = True
        report.sections += happenings.told()
    return report
