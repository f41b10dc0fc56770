"""Whatever callers and gateways do under the same keys, in whatever order: each key is what a model
of one line says, one run at most is at it, and whoever asked is told what the model says."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from anypod.api.problems import AnyPodError, error
from anypod.store import etcd, sqlite_connections, sqlite_schema
from anypod.store import once as leases
from anypod.store.keys import PoolKeys
from anypod.store.kv import KeyValue
from anypod.store.once import Answer, OnceStore, Run
from anypod.store.open import open_store
from anypod_gateway import once as module
from anypod_gateway.errands import Errands
from anypod_gateway.once import Keyed, Once

GATEWAYS = 2
KEYS = ["ab" * 32, "cd" * 32]
WITHIN = 60.0
LOOK = 0.003
PATIENT = ("PRAGMA busy_timeout = 60000", "PRAGMA synchronous = NORMAL")

_pools = itertools.count()
_executions = itertools.count()

State = Literal["free", "running", "kept", "orphan", "told"]
"""orphan: lost, and nobody was told; told: lost, and whoever calls now is taken at their word."""


@dataclass
class Asked:
    """A call, as its caller has it."""

    execution: str
    gateway: "Gateway"
    idempotent: bool
    task: "asyncio.Task[tuple[Answer, bool]]"

    @property
    def told(self) -> Any:
        """The answer and whether it was replayed; or a problem's type."""
        failure = self.task.exception()
        if failure is None:
            return self.task.result()
        assert isinstance(failure, AnyPodError)
        return failure.type


@dataclass
class Model:
    """A key as it must be."""

    state: State = "free"
    request: str = ""
    """Of the call that has it."""
    run: str = ""
    """Execution that is at it, or was when its gateway died."""
    gateway: "Gateway | None" = None
    idempotent: bool = False
    caller: Asked | None = None
    """None when it has left."""
    waiting: list[Asked] = field(default_factory=list)
    answer: Answer | None = None
    after_loss: bool = False


class Noticing(Once):
    """Knows how often calls have looked at what they wait for, and what is being taken back."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.looks: Counter[str] = Counter()
        self.withdrawing = 0

    async def _withdraw(self, call: Keyed, putting: "asyncio.Task[Run]") -> None:
        self.withdrawing += 1
        try:
            await super()._withdraw(call, putting)
        finally:
            self.withdrawing -= 1

    async def _existing(self, call: Keyed, *, is_new: bool) -> Run | None:
        found = await super()._existing(call, is_new=is_new)
        self.looks[call.execution] += 1
        return found


class Gateway:
    """One that can be killed: what it was at is simply not gone on with."""

    def __init__(self, url: str, keys: PoolKeys) -> None:
        self.store: KeyValue = open_store(url)
        self.errands = Errands()
        self.once = Noticing(self.store, keys, self.errands, lambda: 3600.0)

    async def die(self) -> None:
        """And its lease ends. What callers had begun to write who have left is settled before: else
        it could be there later, and the model would not know of it."""
        await asyncio.sleep(0)  # for what that begins
        while self.once.withdrawing:
            await asyncio.sleep(LOOK)
        await self.errands.close()
        if self.once._renewing is not None:
            self.once._renewing.cancel()
            await asyncio.wait({self.once._renewing})
        if self.once._owner._lease:
            await self.store.revoke(self.once._owner._lease)
        await self.store.close()


class Machine(RuleBasedStateMachine):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.loop = asyncio.new_event_loop()
        self.keys = PoolKeys("once", f"p{next(_pools)}")
        self.gateways: list[Gateway] = []
        self.model = {key: Model() for key in KEYS}
        self.at: dict[str, asyncio.Future[Answer]] = {}
        """Executions that run."""

    def do(self, what: Awaitable[Any]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(WITHIN):
                return await what

        return self.loop.run_until_complete(bounded())

    def until(self, what: Callable[[], bool]) -> None:
        async def look() -> None:
            while not what():
                await asyncio.sleep(LOOK)

        self.do(look())

    @initialize()
    def begin(self) -> None:
        self.gateways = [Gateway(self.url, self.keys) for _ in range(GATEWAYS)]

    @rule(
        key=st.sampled_from(KEYS),
        number=st.integers(0, GATEWAYS - 1),
        request=st.sampled_from(["this", "this", "this", "that"]),
        idempotent=st.booleans(),
    )
    def call(self, key: str, number: int, request: str, idempotent: bool) -> None:
        model, asked = self.model[key], self._ask(key, self.gateways[number], request, idempotent)
        if model.state != "free" and request != model.request:
            self._is_told(asked, "idempotency-key-reused")
        elif model.state == "kept":
            self._is_told(asked, (model.answer, True))
        elif model.state == "running":
            model.waiting.append(asked)
            self.until(lambda: asked.gateway.once.looks[asked.execution] > 0)
        elif model.state == "orphan" and not idempotent:
            self._is_told(asked, "worker-lost")
            model.state = "told"
        else:
            self.until(lambda: asked.execution in self.at or asked.task.done())
            assert not asked.task.done(), asked.task
            self.model[key] = _running(asked, request)
            self.model[key].after_loss = model.state == "told"

    def _ask(self, key: str, gateway: Gateway, request: str, idempotent: bool) -> Asked:
        execution = f"x-{next(_executions)}"
        deadline = self.loop.time() + WITHIN
        call = Keyed(key, request, execution, idempotent=idempotent, deadline=deadline)

        async def perform() -> Answer:
            self.at[execution] = asyncio.get_running_loop().create_future()
            try:
                return await self.at[execution]
            finally:
                del self.at[execution]

        task = self.loop.create_task(gateway.once.run(call, perform))
        return Asked(execution, gateway, idempotent, task)

    def _is_told(self, asked: Asked, expected: Any) -> None:
        self.until(asked.task.done)
        assert asked.told == expected

    @precondition(lambda self: self._running())
    @rule(data=st.data(), how=st.sampled_from(["kept", "no-worker", "worker-lost"]))
    def end(self, data: st.DataObject, how: Any) -> None:
        """As the program has it, or because the platform could not."""
        key, model = data.draw(st.sampled_from(self._running()))
        if how == "kept":
            answer = Answer(200, body=f'"{model.run}"')
            self.at[model.run].set_result(answer)
            self._told_all(model, (answer, False), (answer, True))
            self.do(self._written(key, model.run))
            self.model[key] = Model("kept", model.request, model.run, answer=answer)
            return
        self.at[model.run].set_exception(error(how, "as it was told"))
        self._told_all(model, how, None)
        self.do(self._written(key, model.run))
        if how == "worker-lost" and not model.idempotent:
            model.state = "orphan" if model.caller is None else "told"
            if not model.waiting:
                self.do(self._nobodys(key))
        elif model.after_loss:
            model.state = "told"
            if not model.waiting:
                self.do(self._nobodys(key))
        self._settle(key, model)

    async def _written(self, key: str, run: str) -> None:
        """Until the store knows how that run has ended, which only its caller is told after."""
        runs = OnceStore(self.gateways[0].store, self.keys)
        while (found := await runs.get(key)) is not None and found.execution == run:
            if found.answer is not None or not found.owner:
                return
            await asyncio.sleep(LOOK)

    async def _nobodys(self, key: str) -> None:
        """Until that is written."""
        runs = OnceStore(self.gateways[0].store, self.keys)
        while (found := await runs.get(key)) is None or found.owner:
            await asyncio.sleep(LOOK)

    def _told_all(self, model: Model, caller: Any, others: Any) -> None:
        if model.caller is not None:
            self._is_told(model.caller, caller)
        else:
            self.until(lambda: model.run not in self.at)
        if others is not None:
            for asked in model.waiting:
                self._is_told(asked, others)

    def _settle(self, key: str, model: Model) -> None:
        """Of those who wait one goes on; of what was lost all are told, but for who may run it
        again anyway, and who waits for that one then."""
        waiting, is_lost = model.waiting, model.state in ("orphan", "told")

        def next_one() -> list[Asked]:
            return [asked for asked in waiting if asked.execution in self.at]

        self.until(lambda: bool(next_one()) or all(asked.task.done() for asked in waiting))
        told = [asked for asked in waiting if asked.task.done()]
        assert [asked.told for asked in told] == ["worker-lost"] * len(told)
        assert is_lost or not told
        assert not any(asked.idempotent for asked in told)
        if not next_one():
            assert is_lost or not waiting
            model.state, model.waiting = "told" if told else model.state, []
            self.model[key] = model if is_lost else Model()
            return
        (first,) = next_one()
        self._look_again([asked for asked in waiting if asked is not first])
        told = [asked for asked in waiting if asked.task.done()]
        assert first.idempotent or not is_lost
        left = [asked for asked in waiting if asked is not first and asked not in told]
        self.model[key] = _running(first, model.request, left)

    def _look_again(self, waiting: list[Asked]) -> None:
        """A look that has begun already may see what was."""

        def looks(asked: Asked) -> int:
            return asked.gateway.once.looks[asked.execution]

        before = {asked.execution: looks(asked) for asked in waiting}
        self.until(
            lambda: all(
                asked.task.done() or looks(asked) >= before[asked.execution] + 2
                for asked in waiting
            )
        )

    @precondition(lambda self: self._running())
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A caller goes; what it has begun goes on."""
        _, model = data.draw(st.sampled_from(self._running()))
        if model.waiting:
            self._cancel(model.waiting.pop())
        elif model.caller is not None:
            self._cancel(model.caller)
            model.caller = None
        assert model.run in self.at

    def _cancel(self, *asked: Asked) -> None:
        for one in asked:
            one.task.cancel()
        self.until(lambda: all(one.task.done() for one in asked))

    @rule(number=st.integers(0, GATEWAYS - 1))
    def die(self, number: int) -> None:
        """Another gateway comes."""
        gateway = self.gateways[number]
        self.gateways[number] = Gateway(self.url, self.keys)
        orphaned = []
        for key, model in self.model.items():
            self._cancel(*(asked for asked in model.waiting if asked.gateway is gateway))
            model.waiting = [asked for asked in model.waiting if asked.gateway is not gateway]
            if model.state == "running" and model.gateway is gateway:
                if model.caller is not None:
                    self._cancel(model.caller)
                model.state, model.caller = "orphan", None
                orphaned.append(key)
        self.do(gateway.die())
        for key in orphaned:
            self._settle(key, self.model[key])

    def _running(self) -> list[tuple[str, Model]]:
        return [(key, model) for key, model in self.model.items() if model.state == "running"]

    @invariant()
    def one_run_at_most_is_at_a_key(self) -> None:
        assert set(self.at) == {model.run for _, model in self._running()}
        for model in self.model.values():
            assert not any(asked.task.done() for asked in model.waiting)

    def teardown(self) -> None:
        for model in self.model.values():
            self._cancel(*model.waiting, *([model.caller] if model.caller else []))
        for gateway in self.gateways:
            self.do(gateway.die())
        self.loop.close()


def _running(asked: Asked, request: str, waiting: list[Asked] | None = None) -> Model:
    return Model(
        "running",
        request,
        asked.execution,
        asked.gateway,
        asked.idempotent,
        asked,
        waiting or [],
    )


@pytest.mark.timeout(300)
def test_keys_are_what_a_model_says(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LAST_LOOK", 0.02)
    # However slow the machine is: no gateway of the model is taken for dead, and no store for away.
    monkeypatch.setattr(leases, "OWNER_SECONDS", 3600.0)
    monkeypatch.setattr(sqlite_connections, "_CALL_SECONDS", WITHIN)
    monkeypatch.setattr(sqlite_schema, "CONNECTION", PATIENT)
    monkeypatch.setattr(etcd, "_CALL_SECONDS", WITHIN)
    monkeypatch.setattr(etcd, "_READ_SECONDS", WITHIN)
    run_state_machine_as_test(
        lambda: Machine(store),
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
