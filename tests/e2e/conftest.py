"""A namespace for a test, and a report that explains a failure.

With ``--keep`` that of a failed test is left.
"""

import secrets
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster import Cluster
from tests.support.happenings import Happenings
from tests.support.in_cluster import Place

FAILED = pytest.StashKey[bool]()
HAPPENINGS = pytest.StashKey[Happenings]()


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
