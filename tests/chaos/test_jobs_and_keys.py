"""Jobs and keyed calls while gateways, workers and etcd are killed: not one is lost or run twice.

Of processes on this machine; it needs etcd, and no cluster.
"""

from pathlib import Path

import pytest
from tests.support.breaking import Deaths
from tests.support.figures import Figure
from tests.support.reckoning import Load, play

LOAD = Load(jobs=10_000, calls=2_000)
DEATHS = Deaths(gateways=16, workers=40, etcds=6, pause=5.0)


@pytest.mark.timeout(3600)
async def test_every_job_is_final_and_no_key_was_run_twice(tmp_path: Path, figure: Figure) -> None:
    reckoned = await play(tmp_path, figure, LOAD, DEATHS, workers=8)
    assert reckoned.unexplained == []
