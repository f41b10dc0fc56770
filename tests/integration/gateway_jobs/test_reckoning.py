"""Jobs and keyed calls, reckoned up after deaths of gateways, workers and etcd: a small measure of
what tests/chaos does at length."""

from pathlib import Path

import pytest
from tests.support.breaking import Deaths
from tests.support.figures import Figure
from tests.support.reckoning import Load, play


@pytest.mark.timeout(400)
async def test_what_callers_were_told_is_what_has_happened(tmp_path: Path, figure: Figure) -> None:
    deaths = Deaths(gateways=2, workers=3, etcds=1, pause=1.5)
    reckoned = await play(tmp_path, figure, Load(jobs=300, calls=100), deaths, workers=3)
    assert reckoned.unexplained == []
