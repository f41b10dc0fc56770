"""Pools whose workers have a dspy that ours does not know."""

from pathlib import Path

import pytest
from tests.support.worker import linked, started_worker, worker_config

from anypod.dspy import spec
from anypod.wire.config import Lm
from anypod.wire.messages import Code

SIGNATURE = spec.Signature([spec.Field("question")], [spec.Field("answer")])
ASKS = Code("dspy", {spec.FILE: spec.encode(spec.Spec(SIGNATURE, spec.Module("Predict")))}, "x")
USES_IT = "import dspy\ndef main(): return dspy.__version__\n"
LMS = [Lm("fast", "hosted_vllm/fast", "http://127.0.0.1:9/v1")]


@pytest.mark.parametrize("lms", [[], LMS])
async def test_programs_of_kind_python_use_it_as_it_is(tmp_path: Path, lms: list[Lm]) -> None:
    (tmp_path / "dspy.py").write_text("__version__ = '1.0'\n")
    config = worker_config(preload=["dspy"], env={"PYTHONPATH": str(tmp_path)}, lms=lms)
    async with started_worker(config) as worker, linked(worker) as gateway:
        assert (await gateway.run(USES_IT)).outputs == "1.0"
        warned = [line for line in worker.log if "DSPy is not warm" in line]
        assert len(warned) == bool(lms)
        if lms:
            failure = (await gateway.run(ASKS, {"question": "?"})).failure
            assert failure.type == "invalid-program"
            assert "a dspy of another version" in failure.detail
        assert (await gateway.run(USES_IT)).outputs == "1.0"
