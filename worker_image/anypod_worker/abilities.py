"""Which kinds of programs this worker can run, found out without importing what they need."""

import importlib.util

from anypod.wire.messages import PYTHON

_NEEDED = {"dspy": "dspy"}
"""The module without which there is no such kind."""


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


KINDS = (PYTHON, *(kind for kind, module in _NEEDED.items() if _is_there(module)))
