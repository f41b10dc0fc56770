"""Numbers that a worker says, as they can be counted, kept and read again.

Its executors are not believed there; this is for the case that one comes through all the same. NaN
in a sum stays there for good, and JSON has no word for it: a record with it could not be read.
"""

from math import isfinite

import msgspec

from anypod.wire.messages import Message, Progress, Result


def can_be_told(message: Message) -> bool:
    return not isinstance(message, Progress) or isfinite(message.done + (message.total or 0.0))


def with_finite_numbers(result: Result) -> Result:
    usage = result.usage
    cost = 0.0 if usage is None else usage.cost or 0.0
    if isfinite(result.run_seconds + result.wait_seconds + cost):
        return result
    return msgspec.structs.replace(
        result,
        run_seconds=_finite(result.run_seconds),
        wait_seconds=_finite(result.wait_seconds),
        usage=usage
        if usage is None or isfinite(cost)
        else msgspec.structs.replace(usage, cost=None),
    )


def _finite(seconds: float) -> float:
    return seconds if isfinite(seconds) else 0.0
