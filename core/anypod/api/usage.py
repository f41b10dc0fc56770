"""What an execution asked of an LM, as answers and problems tell it."""

import msgspec

from anypod.wire import messages


class Usage(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Also of an execution that failed."""

    lm: str
    """The name by which the pool declares it."""
    calls: int
    """Attempts, those that the provider refused among them."""
    prompt_tokens: int
    completion_tokens: int
    cost: float | None = None
    """In dollars, where the prices are known."""


def both(before: messages.Usage | None, more: messages.Usage) -> messages.Usage:
    """Of one execution, which asks one LM."""
    if before is None:
        return more
    costs = [each.cost for each in (before, more) if each.cost is not None]
    return messages.Usage(
        more.lm,
        before.calls + more.calls,
        before.prompt_tokens + more.prompt_tokens,
        before.completion_tokens + more.completion_tokens,
        sum(costs) if costs else None,
    )


def told(usage: messages.Usage | None) -> Usage | None:
    if usage is None:
        return None
    return Usage(usage.lm, usage.calls, usage.prompt_tokens, usage.completion_tokens, usage.cost)
