"""MIPROv2: sets of demos and proposed instructions, and which of them are best together.

DSPy's own, but for a proposal that fails: the instructions as they are stand in its place, and
nothing that was found is lost. What it calls of the LM goes through the run's loop, by the LM's
bridge.
"""

import importlib.util
import logging
from collections.abc import Callable, Sequence
from typing import Any

import dspy
from dspy.propose import GroundedProposer
from dspy.teleprompt import mipro_optimizer_v2

from anypod.dspy import tasks
from anypod_worker.kinds.dspy import metrics
from anypod_worker.runtime.loading import invalid

log = logging.getLogger(__name__)

_MINIBATCH = 35


class Proposer(GroundedProposer):  # type: ignore[misc]
    def propose_instruction_for_predictor(
        self, program: Any, predictor: Any, *given: Any, **named: Any
    ) -> str:
        proposed: str
        try:
            proposed = super().propose_instruction_for_predictor(
                program, predictor, *given, **named
            )
        except (dspy.LMError, dspy.AdapterParseError) as error:
            why = type(error).__name__  # its words may be the provider's, and repeat the prompt
            log.warning("no new instructions were proposed: %s", why)
            proposed = predictor.signature.instructions
        return proposed


def use() -> None:
    """Have MIPROv2 ask this proposer; once more changes nothing."""
    mipro_optimizer_v2.GroundedProposer = Proposer


def check() -> None:
    """Raises InvalidProgram."""
    if importlib.util.find_spec("optuna") is None:
        raise invalid(
            "this pool's workers have no optuna, which MIPROv2 needs: use an image that has it",
            path="optimizer",
        )


def compiled(
    student: Any,
    trainset: Sequence[Any],
    valset: Sequence[Any],
    *,
    metric: Callable[..., float],
    said: tasks.Optimizer,
    threads: int,
) -> Any:
    """The student with the best demos and instructions; called in the optimiser's thread."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optimizer = dspy.MIPROv2(
        metric=metric,
        auto=None,
        num_candidates=said.candidates,
        max_bootstrapped_demos=said.max_bootstrapped_demos,
        max_labeled_demos=said.max_labeled_demos,
        metric_threshold=metrics.least(said.threshold),
        num_threads=threads,
        max_errors=1_000_000,  # they only score nothing
    )
    return optimizer.compile(
        student,
        trainset=list(trainset),
        valset=list(valset),
        num_trials=said.trials,
        minibatch=len(valset) > _MINIBATCH,
        minibatch_size=_MINIBATCH,
        program_aware_proposer=False,  # what it would read is our code, and not the program's
    )
