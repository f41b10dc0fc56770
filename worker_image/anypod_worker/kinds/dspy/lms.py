"""The pool's LMs, made anew for each run: what one run knows, no other one can find.

An LM is never cached, keeps no history, and is told its key by an argument. Attempts are repeated
here and not by DSPy, which would wait for as long as a provider says.
"""

import asyncio
import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.clients import capabilities
from dspy.clients.backend_selection import select_backend

from anypod.dspy.spec import MAX_TOKENS, LmChoice
from anypod.wire.config import Lm
from anypod.wire.messages import Failure, Usage
from anypod_worker.kinds.dspy import failures
from anypod_worker.kinds.dspy.bridge import Bridge
from anypod_worker.kinds.dspy.engine import InTheLoop
from anypod_worker.kinds.given import Given
from anypod_worker.runtime.failures import Known
from anypod_worker.runtime.loading import invalid

_NO_KEY = "none"
"""For servers that want none: without one, a library would look for it in the environment."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 20.0
_LEAST_LEFT = 0.5
"""Seconds that must be left for another attempt."""


def chosen(lms: Sequence[Lm], *choices: LmChoice | None) -> tuple[Lm, LmChoice]:
    """Which LM, and with which parameters: what later choices say goes over earlier ones.

    Raises InvalidProgram.
    """
    merged = LmChoice()
    for choice in choices:
        merged = merged.under(choice)
    if not lms:
        raise invalid("the pool declares no LMs (spec.lms)", path="lm")
    found = next((lm for lm in lms if merged.name in (None, lm.name)), None)
    if found is None:
        names = ", ".join(lm.name for lm in lms)
        raise invalid(f"the pool has no LM {merged.name!r}; it has: {names}", path="lm")
    return found, merged


Answers = Mapping[str, Sequence[Mapping[str, Any]]]
"""What DSPy keeps of the usage of each answer, by the model's name."""


@dataclass(frozen=True, slots=True)
class _Tokens:
    given: int = 0
    made: int = 0
    answers: Mapping[str, int] = field(default_factory=dict)
    """How many of each model's are counted."""

    def with_new(self, answers: Answers) -> "_Tokens":
        """An evaluation has thousands of answers: each is counted once."""
        given, made, counted = self.given, self.made, dict(self.answers)
        for model, all_of_it in list(answers.items()):
            new = all_of_it[counted.get(model, 0) :]
            counted[model] = counted.get(model, 0) + len(new)
            given += sum(int(one.get("prompt_tokens") or 0) for one in new)
            made += sum(int(one.get("completion_tokens") or 0) for one in new)
        return _Tokens(given, made, counted)


class Meter:
    """Counts what one run asks its LM for, and tells it as it goes: the process may die of what the
    program does next, and that has been paid for."""

    def __init__(self, lm: Lm, tell: Callable[[Usage], None] = lambda _: None) -> None:
        self._lm = lm
        self._tell = tell
        self._process = os.getpid()
        self._answers: Answers = {}
        self._tokens = _Tokens()
        self.calls = 0
        self._estimate: float | None = None

    def read(self, answers: Answers) -> None:
        """Count the tokens of these, and of those that will be added to them."""
        self._answers = answers

    def priced(self, cost: float | None) -> None:
        if cost is not None:
            self._estimate = (self._estimate or 0.0) + cost

    def told(self) -> None:
        """Tell what it is by now."""
        if os.getpid() == self._process:  # not in a fork, which would speak into its parent's words
            self._tell(self.total())

    def total(self) -> Usage:
        # Set at once: what is asked in threads is counted by whoever comes first.
        tokens = self._tokens = self._tokens.with_new(self._answers)
        lm = self._lm
        cost = self._estimate
        if lm.input_price is not None or lm.output_price is not None:
            priced = tokens.given * (lm.input_price or 0) + tokens.made * (lm.output_price or 0)
            cost = priced / 1e6
        cost = None if cost is None else round(cost, 9)
        return Usage(lm.name, self.calls, tokens.given, tokens.made, cost)


def _arguments(lm: Lm, choice: LmChoice, key: str) -> dict[str, Any]:
    return {
        "model": lm.model,
        "temperature": lm.temperature if choice.temperature is None else choice.temperature,
        "max_tokens": choice.max_tokens or lm.max_tokens,
        "cache": False,
        "num_retries": 0,
        "engine": "lm15",
        "api_key": key,
        "timeout": lm.timeout_seconds,
        **({"api_base": lm.api_base} if lm.api_base else {}),
    }


class PoolLm(InTheLoop, dspy.LM):  # type: ignore[misc]
    """One LM for one run."""

    bridge: Bridge | None = None
    """For an optimiser's threads, where it is called synchronously."""
    tracker: Any = None
    """Of usage, there: threads of DSPy's have copies of it."""
    left: Callable[[], float | None] | None = None
    """There, how many seconds an optimiser has yet. Raises Known when it has to end."""

    def __init__(self, lm: Lm, choice: LmChoice, given: Given, meter: Meter) -> None:
        super().__init__(**_arguments(lm, choice, given.keys.get(lm.name, _NO_KEY)))
        self._name = lm.name
        self._attempts = lm.retries + 1
        self._meter = meter
        self._given = given
        self._until = _loop_time() + (given.seconds or math.inf)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self.bridge is None or self.bridge.is_in_the_loop():
            # Of a tool or a metric that does not await: the loop waits for it, as it must.
            self._pay()
            try:
                with _whole():
                    return super().__call__(*arguments, **named)
            finally:
                self._meter.told()
        return self.bridge.wait(self._tracked(*arguments, **named))

    async def _tracked(self, *arguments: Any, **named: Any) -> Any:
        """What fails is told as callers know it, for DSPy's optimisers print it."""
        with dspy.context(usage_tracker=self.tracker):
            try:
                return await self.acall(*arguments, **named)
            except dspy.LMError as error:
                raise failures.told(error, self._name) from None

    async def acall(self, *arguments: Any, **named: Any) -> Any:
        if self.left is None:
            return await self._answered(*arguments, **named)
        async with asyncio.timeout(self.left()):
            return await self._answered(*arguments, **named)

    async def _answered(self, *arguments: Any, **named: Any) -> Any:
        for attempt in range(1, self._attempts + 1):
            self._pay()
            outlet = _Outlet.of_this_call()
            try:
                with _whole():
                    if outlet is None:
                        return await super().acall(*arguments, **named)
                    with dspy.context(send_stream=outlet):
                        return await super().acall(*arguments, **named)
            except dspy.LMError as error:
                pause = self._pause(error, attempt)
                if pause is None or (outlet is not None and outlet.has_shown):
                    raise
            finally:
                self._meter.told()
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _pay(self) -> None:
        left = self._given.lm_calls
        if left is not None:
            if left <= 0:
                raise Known(Failure("budget-spent", "the LM calls of the budget are spent"))
            self._given.lm_calls = left - 1
        self._meter.calls += 1
        self._meter.told()

    def _pause(self, error: dspy.LMError, attempt: int) -> float | None:
        """Before the next attempt; None when there is none."""
        if attempt == self._attempts or not failures.may_pass(error):
            return None
        asked = error.retry_after
        pause = min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE) if asked is None else asked
        return pause if _loop_time() + pause + _LEAST_LEFT < self._until else None

    def priced(self, cost: float | None) -> None:
        self._meter.priced(cost)

    def heard(self, response: Any) -> None:
        cut = _cut.get()
        if cut is not None and response.finish_reason == "length":
            cut.append(response.message.text or "")

    def of_attempt(self, number: int) -> "PoolLm":
        """For an attempt of a wrap: as in DSPy at temperature 1, so that attempts differ, unless
        who runs it says another. DSPy takes no other: at 0 its cache would answer all attempts with
        one reply. Here nothing is cached."""
        asked = self._given.lm
        said = None if asked is None else asked.temperature
        attempt: PoolLm = self.copy(rollout_id=number, temperature=1.0 if said is None else said)
        return attempt

    def update_history(self, entry: dict[str, Any]) -> None:
        """Prompts are kept nowhere."""


_cut: ContextVar[list[str] | None] = ContextVar("_cut", default=None)
"""Replies to the present call that their limit of tokens has ended."""


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    """A call of which every reply was said to its end: what is left of another one can be read,
    with a number that is wrong or a list that is short. Raises Known."""
    cut: list[str] = []
    token = _cut.set(cut)
    try:
        yield
    finally:
        _cut.reset(token)
    if cut:
        raise failures.unusable("the LM's reply was cut at its limit of tokens, maxTokens", cut[0])


class _Outlet:
    """Where DSPy sends the pieces of an answer that are shown as they come."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.has_shown = False

    @classmethod
    def of_this_call(cls) -> "_Outlet | None":
        """None when nobody is shown what is said to whom asks."""
        settings = dspy.settings
        if settings.send_stream is None:
            return None
        asks = settings.caller_predict
        listeners = settings.stream_listeners
        return cls(settings.send_stream) if any(o.predict is asks for o in listeners) else None

    async def send(self, piece: Any) -> None:
        self.has_shown = True
        await self._stream.send(piece)


def made(lm: Lm, choice: LmChoice, given: Given, meter: Meter) -> PoolLm:
    """Raises Known for parameters that the LM does not take: a run or its session may say others
    than the program, which was checked with its own; and the pool may have changed."""
    if wrong := choice.too_long(lm.name, lm.max_tokens):
        raise Known(Failure("bad-request", wrong, path=MAX_TOKENS))
    try:
        return PoolLm(lm, choice, given, meter)
    except dspy.LMError as error:
        said = str(error).partition("\n\n")[0]
        why = f"lm: the pool's LM {lm.name!r} cannot be asked like this: {said}"
        raise Known(Failure("bad-request", why, path="lm")) from None


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


def look_up(lm: Lm) -> None:
    """In DSPy's catalogue, so that it is known. That it cannot be asked, who asks it is told."""
    with contextlib.suppress(Exception):
        capabilities.capabilities(dspy.LM(**_arguments(lm, LmChoice(), _NO_KEY)))


def check(lm: Lm, choice: LmChoice) -> None:
    """Whether DSPy can ask it like this by itself, without a library that takes seconds to import.

    Raises InvalidProgram.
    """
    try:
        select_backend(dspy.LM(**_arguments(lm, choice, _NO_KEY)))
    except Exception as error:
        said = str(error).partition("\n\n")[0]
        raise invalid(f"the pool's LM {lm.name!r} cannot be asked: {said}", path="lm") from error
