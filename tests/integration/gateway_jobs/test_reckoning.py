"""Jobs and keyed calls while gateways, workers and etcd are killed: not one is lost or run twice.

Of processes on this machine; tests/chaos does it to pods.
"""

from pathlib import Path

import pytest
from tests.support.breaking import Deaths
from tests.support.figures import Figure
from tests.support.insistent import Load
from tests.support.on_a_stack import stack_ground
from tests.support.reckoning import Size, play

SHORT = Size(Load(jobs=300, calls=100), Deaths(gateways=2, workers=3, etcds=1, pause=1.5))
AT_LENGTH = Size(Load(10_000, 2_000), Deaths(gateways=16, workers=40, etcds=6, pause=5.0))


@pytest.mark.timeout(3600)
async def test_every_job_is_final_and_no_key_was_run_twice(
    tmp_path: Path, figure: Figure, at_length: bool
) -> None:
    size = AT_LENGTH if at_length else SHORT
    async with stack_ground(tmp_path, workers=8 if at_length else 3) as ground:
        reckoned = await play(ground, figure, size)
    assert reckoned.unexplained == []
