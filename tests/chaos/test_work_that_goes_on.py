"""Jobs and keyed calls, through the Service, while gateways, workers and etcd are killed: not one
is lost or run twice.

The last file of chaos by its name: Kubernetes starts what dies often later and later, and there is
one etcd, whose outage would be another one in the table.

tests/integration/gateway_jobs/test_reckoning.py does it to processes of this machine.
"""

import pytest
from tests.support.breaking import Deaths
from tests.support.figures import Figure
from tests.support.insistent import Load
from tests.support.installed import Release
from tests.support.on_a_cluster import release_ground
from tests.support.reckoning import Size, play

SHORT = Size(Load(jobs=240, calls=60), Deaths(gateways=1, workers=2, etcds=1, pause=5.0))
AT_LENGTH = Size(Load(10_000, 2_000), Deaths(gateways=12, workers=35, etcds=3, pause=12.0))


@pytest.mark.timeout(3600)
async def test_every_job_is_final_and_no_key_was_run_twice(
    release: Release, figure: Figure, at_length: bool
) -> None:
    async with release_ground(release) as ground:
        reckoned = await play(ground, figure, AT_LENGTH if at_length else SHORT)
    assert reckoned.unexplained == []
