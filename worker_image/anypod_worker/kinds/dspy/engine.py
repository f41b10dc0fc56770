"""DSPy's engine as runs of ours use it: over connections that outlive them."""

from dataclasses import replace

from dspy.clients import execution
from dspy.clients.engines.lm15_engine import AsyncLM15Engine
from dspy.lm15 import RouterConfig

from anypod_worker.kinds.dspy.transport import Transport


class Engine(AsyncLM15Engine):  # type: ignore[misc]
    """It has its LM's key, and ends with it."""

    def __init__(self, config: RouterConfig, *, model_type: str = "chat") -> None:
        shared = replace(config, timeouts=None, transport=Transport(config.timeouts))
        super().__init__(shared, model_type=model_type)


def use() -> None:
    """Have DSPy use it; once more changes nothing."""
    execution.AsyncLM15Engine = Engine
