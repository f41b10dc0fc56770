"""What is told of the namespaces of tests that failed, and which of them stay."""

import json
import subprocess
import sys
from pathlib import Path

from tests.cluster.control_plane import ApiServer

ROOT = Path(__file__).resolve().parents[3]
CONFTEST = """
import pytest
from tests.support.cluster_tests import cluster_of

pytest_plugins = ["tests.cluster.pytest_options", "tests.support.namespaces"]
cluster = pytest.fixture(scope="session")(cluster_of)
"""
TESTS = """
import pytest
from tests.support.namespaces import namespace

@pytest.fixture(scope="module")
def home(cluster, request):
    with namespace(cluster, request, "{name}") as name:
        made = ("create", "service", "clusterip", "stands-in-{name}", "--tcp=80")
        cluster.kubectl("-n", name, *made)
        yield name

def test_of_a_namespace(home):
    assert "{name}" == "passes"
"""


def test_that_of_a_failed_test_is_told_of_and_with_keep_it_stays(
    api: ApiServer, tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for name in ("passes", "fails"):
        (tmp_path / f"test_{name}.py").write_text(TESTS.format(name=name))
    where = ("--cluster=existing", "--context=anypod-cluster", "--image-repository=none")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--keep", *where, f"--rootdir={tmp_path}", tmp_path],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "KUBECONFIG": str(api.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "objects of fails-" in done.stdout
    assert "service/stands-in-fails" in done.stdout
    assert "stands-in-passes" not in done.stdout
    found = json.loads(api.kubectl("get", "namespaces", "-ojson"))["items"]
    phases = {
        each["metadata"]["name"].rpartition("-")[0]: each["status"]["phase"] for each in found
    }
    assert (phases["fails"], phases["passes"]) == ("Active", "Terminating")
