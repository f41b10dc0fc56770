"""Namespaces that tests have to themselves, and what is told of them when one of their tests fails.

A namespace lasts as long as what asked for it: a test, the tests of a file, those of a folder. With
``--keep``, one of which a test has failed stays, and so does what stands in it.
"""

import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.cluster import Cluster
from tests.support.happenings import Happenings

FAILED = pytest.StashKey[bool]()
HAPPENINGS = pytest.StashKey[list[Happenings]]()


@contextmanager
def namespace(
    cluster: Cluster, request: pytest.FixtureRequest, about: str, **labels: str
) -> Iterator[str]:
    """Its name, which nobody else has: on this cluster there may be those of other runs."""
    name = f"{about}-{secrets.token_hex(3)}"
    folder = request.getfixturevalue("tmp_path_factory").mktemp(name)
    cluster.kubectl("create", "namespace", name)
    stash = request.node.stash
    try:
        with Happenings(cluster, name, folder) as happenings:
            stash.setdefault(HAPPENINGS, []).append(happenings)
            if labels:
                told = (f"{label}={value}" for label, value in labels.items())
                cluster.kubectl("label", "namespace", name, *told)
            yield name
    except BaseException:
        stash[FAILED] = True
        raise
    finally:
        if not stays(request):
            cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def stays(request: pytest.FixtureRequest) -> bool:
    """What the test, or the tests, that this is asked for have put onto the cluster."""
    return request.node.stash.get(FAILED, False) and bool(request.config.getoption("--keep"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for node in item.listchain():
            for happenings in node.stash.get(HAPPENINGS, ()):
                node.stash[FAILED] = True
                report.sections += happenings.told()
    return report
