"""What DSPy raises, as failures that callers know.

What a provider says is repeated, except where it may repeat what it was sent: a refused key is told
by the LM's name alone.
"""

import math
import re

import dspy

from anypod.wire.messages import Failure
from anypod_worker.runtime.failures import Known, clean, describe

MAX_MODEL_OUTPUT = 4 * 1024
_RETRY_AFTER = 1
"""Seconds, where the provider says none."""
_PASSING = frozenset({409, 425})
_OF_A_REQUEST = frozenset({400, 413, 422})
_NO_SUCH_MODEL = 404
_TOO_LONG = re.compile(
    r"context[ _](length|size|window)|exceed_context_size|prompt is too long", re.IGNORECASE
)
"""As servers say it that have no code for it: vLLM, llama.cpp."""


def told(error: Exception, lm: str) -> Exception:
    """What to raise instead: the same error, if it is the program's own."""
    if isinstance(error, dspy.AdapterParseError):
        return unusable(
            "the LM's reply has not the form that was asked for", str(error.lm_response)
        )
    if isinstance(error, dspy.LMError):
        return Known(_of_lm(error, lm))
    return error


def named(error: Exception, lm: str) -> str:
    """With its type, in one line."""
    known = told(error, lm)
    if isinstance(known, Known):
        return f"{known.failure.type}: {known}"
    return describe(known)


def unusable(why: str, reply: str) -> Known:
    return Known(
        Failure(
            type="model-output-unusable",
            detail=clean(why),
            model_output=clean(reply, MAX_MODEL_OUTPUT),
        )
    )


def _of_lm(error: dspy.LMError, lm: str) -> Failure:
    named = f"LM {lm!r}"
    match error:
        case dspy.LMNotConfiguredError():
            why = f"it needs settings that the pool does not give: {_said(error)}"
            return Failure("lm-auth", f"{named}: {why}")
        case dspy.LMAuthError():
            return Failure("lm-auth", f"{named}: its provider refuses the pool's key")
        case dspy.LMBillingError():
            return Failure("lm-auth", f"{named}: its provider wants money: {_said(error)}")
        case dspy.LMRateLimitError():
            return Failure(
                "lm-rate-limited",
                f"{named}: {_said(error)}",
                retry_after=_whole(error.retry_after),
            )
        case dspy.ContextWindowExceededError():
            return Failure("lm-context-window", f"{named}: {_said(error)}")
    if may_pass(error):
        return Failure("lm-unavailable", f"{named}: {_said(error)}", retry_after=_RETRY_AFTER)
    if error.status in _OF_A_REQUEST and _TOO_LONG.search(str(error.message)):
        return Failure("lm-context-window", f"{named}: {_said(error)}")
    return Failure("lm-refused", f"{named}: {_said(error)}")


def may_pass(error: dspy.LMError) -> bool:
    """The same request may be answered in a moment. What is no answer, as a page of something that
    stands before the provider, is none of its refusals."""
    if dspy.is_retryable_lm_error(error):
        return True
    match error:
        case (
            dspy.LMTransportError()
            | dspy.LMServerError()
            | dspy.LMTimeoutError()
            | dspy.LMStreamAssemblyError()
            | dspy.LMUnexpectedError()
        ):
            return True
        case dspy.LMBillingError() | dspy.LMAuthError() | dspy.LMNotConfiguredError():
            return False
    status = error.status or 0
    return 200 <= status < 400 or status in _PASSING


def is_of_all(error: Exception) -> bool:
    """Whether the LM would say the same to any request: it refuses the key, or is not there."""
    if not isinstance(error, dspy.LMError):
        return False
    return isinstance(error, dspy.LMUnsupportedModelError) or error.status == _NO_SUCH_MODEL


def _said(error: dspy.LMError) -> str:
    """The provider's own words, without the library's advice below them."""
    status = f" (HTTP {error.status})" if error.status else ""
    said = str(error.message).partition("\n\n")[0]
    return clean(f"{said}{status}", 1000)


def _whole(seconds: float | None) -> int:
    if seconds is None or not math.isfinite(seconds):
        return _RETRY_AFTER
    return max(_RETRY_AFTER, math.ceil(seconds))
