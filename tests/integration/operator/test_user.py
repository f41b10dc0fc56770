"""The user of the image, who has a number and no name."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.operated import Namespace
from tests.support.operator_process import OperatorProcess

AS_NOBODY_KNOWN = (
    *("unshare", "--user", "--map-user=65532", "--map-group=65532"),
    # Of a user without a home, runtimes of containers make this one.
    *("env", "HOME=/"),
)


def can_be_somebody_else() -> bool:
    if shutil.which("unshare") is None:
        return False
    asked = [*AS_NOBODY_KNOWN, "id", "-u"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip() == "65532"


@pytest.mark.skipif(not can_be_somebody_else(), reason="no user namespaces here")
def test_it_runs_as_a_user_without_a_name(space: Namespace, tmp_path: Path) -> None:
    process = OperatorProcess(space.api, tmp_path, "--namespace", space.name, under=AS_NOBODY_KNOWN)
    process.start()
    try:
        space.apply()
        space.until_children()
        assert process.is_running, process.log
        assert process.stop() == 0
    finally:
        process.kill()
