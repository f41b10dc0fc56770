"""Why what is wanted of a pool is not applied, and what to do about it. Pure."""

from dataclasses import dataclass

from anypod_operator.api_errors import Forbidden, Refused
from anypod_operator.diagnosis import Trouble
from anypod_operator.kinds import NETWORK_POLICY
from anypod_operator.objects.layers import BadTemplate
from anypod_operator.pools import InvalidPool, NameTaken

RETRY_SECONDS = 30.0
"""For what may get right without a change that a watch would tell."""


@dataclass(frozen=True)
class Problem:
    """Why what is wanted is not applied, and whether it may get right by itself."""

    trouble: Trouble
    retry: float | None = None


def problem_of(reason: Exception) -> Problem | None:
    """None for what is only to be tried again."""
    text = str(reason)
    match reason:
        case InvalidPool():
            cure = "Bring CRD and operator to one version: the API server let this pass."
            return Problem(Trouble("InvalidSpec", text, cure))
        case BadTemplate():
            return Problem(Trouble("InvalidTemplate", text, "Correct spec.template."))
        case Refused() if reason.kind == NETWORK_POLICY.kind:
            return Problem(Trouble("InvalidNetwork", text, "Correct spec.network."))
        case Refused():
            cure = "Correct spec.template, or what else the message names."
            return Problem(Trouble("InvalidTemplate", text, cure))
        case NameTaken():
            return Problem(Trouble("NameTaken", text), RETRY_SECONDS)
        case Forbidden():
            cure = "Give the operator the permission, or ask who refuses it."
            return Problem(Trouble("Forbidden", text, cure), RETRY_SECONDS)
    return None
