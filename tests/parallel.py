"""How tests are spread over processes (pytest-xdist): `make test` waits for many things at once.

The tests of a file stay together, in order, as they share its fixtures; so do those of some
folders, whose files share what takes long to start. Whoever is free takes the next of them in the
order of the tree: the slow ones come first, and the many small files of unit tests fill the end.
"""

import os
import time
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER: dict[str, str] = {
    "tests/chaos": "the cluster of chaos",
    "tests/e2e": "the cluster of e2e",
    "tests/integration/cluster/test_cluster.py": "a cluster",
    "tests/integration/cluster/test_faults.py": "a cluster",
    "tests/integration/cluster/test_api_server.py": "an API server",
    "tests/integration/cluster/test_existing.py": "an API server",
    "tests/integration/operator": "an API server",
    "tests/integration/examples": "a pool that runs the examples",
    "tests/integration/dspy": "a pool that asks language models",
}
"""What files and folders share: all that share the same run in one process."""
ONE_CLUSTER = "a cluster with the project's images"
"""What these two share where there is one for both."""
MOST_PROCESSES = 6
"""As many clusters fit side by side as runs of tests can have."""
TEARDOWN_SECONDS = 120.0
"""After an interrupt, for the processes to end what their tests have started."""


class ByPlace(LoadScopeScheduling):
    """xdist's own way for scopes, with ours of naming them."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid, one_cluster=has_one_cluster(self.config))


def scope_of(nodeid: str, *, one_cluster: bool = False) -> str:
    """The same for tests that run in one process: what they share, or their file."""
    file = PurePosixPath(nodeid.partition("::")[0])
    places = map(str, (file, *file.parents))
    scope = next((TOGETHER[place] for place in places if place in TOGETHER), str(file))
    of_clusters = (TOGETHER["tests/chaos"], TOGETHER["tests/e2e"])
    return ONE_CLUSTER if one_cluster and scope in of_clusters else scope


def has_one_cluster(config: pytest.Config) -> bool:
    """It is one that was there before, or is kept: chaos breaks what e2e would use."""
    theirs = config.getoption("--cluster", "auto") == "existing"
    named, kept = config.getoption("--kind-name", None), config.getoption("--keep", False)
    return theirs or named is not None or bool(kept)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: two for each core, as most tests wait most of their time."""
    return min(2 * len(os.sched_getaffinity(0)), MOST_PROCESSES)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByPlace:
    config.option.loadscopereorder = False
    return ByPlace(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Wait for processes that end: xdist kills them soon, and what they started would stay."""
    distribution: Any = session.config.pluginmanager.get_plugin("dsession")
    if distribution is None:
        return
    until = time.monotonic() + TEARDOWN_SECONDS
    nodes = [gateway.node for gateway in distribution.nodemanager.group]
    for node in nodes:
        with suppress(OSError):  # it has died
            node.shutdown()
    for node in nodes:
        with suppress(Exception):  # it has failed, which xdist tells, or takes too long
            node.channel.waitclose(max(0.0, until - time.monotonic()))
