"""What an LM's provider, or DSPy before it, does not do is told by what has to be mended."""

import pytest
from tests.support import dspy_runs

from anypod.wire.config import Lm
from anypod_worker.runtime.failures import Known


def test_a_setting_that_an_lm_lacks_is_not_called_a_refused_key() -> None:
    plan = dspy_runs.plan("http://127.0.0.1:9/v1")
    plan.pool[:] = [Lm("cloud", "azure/x", retries=0)]
    with pytest.raises(Known) as caught:
        dspy_runs.run(plan, question="?")
    failure = caught.value.failure
    assert failure.type == "lm-auth"
    assert "LM 'cloud': it needs settings" in failure.detail
    assert "AZURE_OPENAI_RESOURCE" in failure.detail
