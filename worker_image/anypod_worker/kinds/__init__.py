"""What an executor does differently for each kind of program: load it, and describe it.

What is loaded runs the same way whatever its kind (``runtime.running``): its plan binds the inputs
to arguments, its entry is called with them, and what comes back is awaited or iterated.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from anypod.wire.config import Lm
from anypod.wire.messages import Code
from anypod_worker.runtime import loading, signatures
from anypod_worker.runtime.loading import LoadedProgram, invalid
from anypod_worker.runtime.signatures import Description


class Kind(NamedTuple):
    load: Callable[[Code, str, Path], LoadedProgram]
    """Raises InvalidProgram."""
    describe: Callable[[LoadedProgram], Description]
    """Raises InvalidProgram."""


_PYTHON = Kind(loading.load, signatures.describe)


def of(kind: str, lms: Sequence[Lm]) -> Kind:
    """Raises InvalidProgram for a kind that this worker cannot run. ``lms`` are the pool's."""
    if kind == "python":
        return _PYTHON
    if kind != "dspy":
        raise invalid(f"this worker does not know programs of kind {kind!r}", path="kind")
    try:
        importlib.import_module("dspy")
    except ImportError as error:
        raise invalid(
            "this pool's workers have no dspy: use an image that has it (the extra 'dspy')"
            f": {error}",
            path="kind",
        ) from None
    try:
        made: Kind = importlib.import_module("anypod_worker.kinds.dspy.kind").kind(lms)
    except (ImportError, AttributeError) as error:
        raise invalid(
            "this pool's workers have a dspy of another version: use an image that has the one of "
            f"the extra 'dspy': {error}",
            path="kind",
        ) from None
    return made


def tidy() -> float | None:
    """Let go of what a kind has kept long enough for runs to come. Seconds until there is more;
    None: nothing is kept."""
    connections = sys.modules.get("anypod_worker.kinds.dspy.connections")
    left: float | None = None if connections is None else connections.idle.tidy()
    return left
