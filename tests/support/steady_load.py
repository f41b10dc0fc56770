"""A steady load from within a cluster, and what each caller of it was told.

Runs in a pod that has nothing of ours but the client library (``python -c`` with this file's text),
so it imports nothing else. Three kinds of callers, each with a connection of its own that is kept
alive: of a program that is idempotent, of one that is not, and of sessions, one call after the
other, each of which must find the state that the last answer told of. Nothing is repeated here but
by the client library, and that is counted.

Every half second one line of JSON says what ended meanwhile (``Tick``); the last line says what the
store has of the sessions, and what the callers know of them (``Sessions``).
"""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field

from anypod.client import AnyPodError, AsyncClient, NoAnswer, NotFound, http_async
from anypod.client.retries import Attempts

IDEMPOTENT, PLAIN, SESSION = KINDS = ("idempotent", "plain", "session")
READ = "read of a session"
"""After a call of one that was not answered."""
CALLERS = int(os.environ.get("CALLERS", "8"))
"""Of each kind."""
PAUSE_SECONDS = 0.15
RUN_SECONDS = 0.05
TICK_SECONDS = 0.5
SLOW_SECONDS = 1.0
"""Calls that took longer are told one by one."""
CALLS_PER_CONNECTION = 200
RETRIES = 10
WITHOUT_KEY = ""
"""Nothing here is run once by a promise of the store."""
TIMEOUT = 120.0

WORK = f"import time\ndef main(x: int) -> int:\n    time.sleep({RUN_SECONDS})\n    return x\n"
COUNT = f"""
import time
from anypod import session
def main() -> int:
    time.sleep({RUN_SECONDS})
    session.state["count"] = session.state.get("count", 0) + 1
    return session.state["count"]
"""


@dataclass
class Trouble:
    """A call that failed, or was told what is not so."""

    kind: str
    type: str
    """A problem's, or of the client library's exceptions; ``wrong`` for a wrong answer."""
    worker: str
    detail: str
    began: float
    ended: float


@dataclass
class Tick:
    at: float
    answers: dict[str, int]
    slowest: dict[str, float]
    slow: list[tuple[str, float, float]]
    """Kind, begin and end of answers that took long."""
    repeats: dict[str, int]
    """Of calls, by the client library: by kind and by what was repeated."""
    troubles: list[Trouble]
    oldest: float
    """When the oldest call that is under way began; now, if there is none."""


@dataclass
class Sessions:
    stored: dict[str, int]
    known: dict[str, int]


class Wrong(Exception):
    """An answer that cannot be."""


def unnoted(failure: Exception) -> None:
    """Of calls that are not counted."""


REPEATED: ContextVar[Callable[[Exception], None]] = ContextVar("REPEATED", default=unnoted)
"""What notes a repeat of the call that is under way."""


class Counted(Attempts):
    """As the client library decides, and noted."""

    def pause(self, failure: Exception) -> float | None:
        pause = super().pause(failure)
        if pause is not None:
            REPEATED.get()(failure)
        return pause


@dataclass
class Record:
    answers: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    slow: list[tuple[str, float, float]] = field(default_factory=list)
    repeats: Counter[str] = field(default_factory=Counter)
    troubles: list[Trouble] = field(default_factory=list)
    running: dict[object, float] = field(default_factory=dict)

    @contextmanager
    def call(self, kind: str) -> Iterator[None]:
        """Around one call; what it raises is kept here, and goes no further."""
        token, began = object(), time.time()
        self.running[token] = began
        noting = REPEATED.set(lambda failure: self.repeats.update([f"{kind}: {_type_of(failure)}"]))
        try:
            yield
        except (AnyPodError, NoAnswer, Wrong) as failure:
            self.troubles.append(_trouble(kind, failure, began))
        else:
            self._answered(kind, began)
        finally:
            REPEATED.reset(noting)
            del self.running[token]

    def _answered(self, kind: str, began: float) -> None:
        took = time.time() - began
        self.answers[kind] += 1
        self.slowest[kind] = max(took, self.slowest.get(kind, 0.0))
        if took > SLOW_SECONDS:
            self.slow.append((kind, began, began + took))

    def take(self) -> Tick:
        now = time.time()
        oldest = min(self.running.values(), default=now)
        told = Tick(
            *(now, dict(self.answers), self.slowest, self.slow),
            *(dict(self.repeats), self.troubles, oldest),
        )
        self.answers, self.slowest, self.slow = Counter(), {}, []
        self.repeats, self.troubles = Counter(), []
        return told


def _trouble(kind: str, failure: Exception, began: float) -> Trouble:
    worker = failure.problem.worker or "" if isinstance(failure, AnyPodError) else ""
    return Trouble(kind, _type_of(failure), worker, str(failure)[:300], began, time.time())


def _type_of(failure: Exception) -> str:
    if isinstance(failure, Wrong):
        return "wrong"
    return failure.type if isinstance(failure, AnyPodError) else type(failure).__name__


class Load:
    def __init__(self, url: str) -> None:
        self.record = Record()
        self.going = True
        self._url = url
        self._known: dict[str, int] = {}

    def client(self) -> AsyncClient:
        return AsyncClient(self._url, retries=RETRIES, timeout=TIMEOUT)

    async def prepare(self) -> None:
        async with self.client() as client:
            await client.programs.put(IDEMPOTENT, source=WORK, idempotent=True)
            await client.programs.put(PLAIN, source=WORK + "# not idempotent\n")
            await client.programs.put(SESSION, source=COUNT)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(CALLERS):
                tasks.create_task(self._call(IDEMPOTENT, number))
                tasks.create_task(self._call(PLAIN, number))
                tasks.create_task(self._count(f"steady-{number}"))
            while self.going:
                await asyncio.sleep(TICK_SECONDS)
                tell(self.record.take())

    async def sessions(self) -> Sessions:
        async with self.client() as client:
            stored = {key: await _stored(client, key) for key in self._known}
        return Sessions(stored, self._known)

    async def _call(self, program: str, number: int) -> None:
        await asyncio.sleep(PAUSE_SECONDS * number / CALLERS)
        while self.going:
            async with self.client() as client:
                for x in range(CALLS_PER_CONNECTION):
                    if not self.going:
                        return
                    with self.record.call(program):
                        idempotent = program == IDEMPOTENT
                        answer = await client.run(
                            program,
                            {"x": x},
                            idempotent=idempotent,
                            idempotency_key=WITHOUT_KEY,
                        )
                        if answer.outputs != x:
                            raise Wrong(f"{answer.outputs} for {x}")
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _count(self, key: str) -> None:
        while self.going:
            async with self.client() as client:
                for _ in range(CALLS_PER_CONNECTION):
                    if not self.going:
                        return
                    await self._count_once(client, key)
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _count_once(self, client: AsyncClient, key: str) -> None:
        """After a call whose end nobody knows, the session's state says whether it happened."""
        before = self._known.get(key, 0)
        with self.record.call(SESSION):
            session = client.session(key)
            told = (await session.run(SESSION, {}, idempotency_key=WITHOUT_KEY)).outputs
            self._known[key] = told
            if told != before + 1:
                raise Wrong(f"session {key} counts {told} after {before}")
            return
        while self.going:
            with self.record.call(READ):
                stored = await _stored(client, key)
                self._known[key] = stored
                if stored not in {before, before + 1}:
                    raise Wrong(f"session {key} has {stored} after {before}")
                return
            await asyncio.sleep(PAUSE_SECONDS)


async def _stored(client: AsyncClient, key: str) -> int:
    try:
        state = (await client.sessions.get(key)).state
    except NotFound:
        return 0
    return int(state.get("count", 0))


def tell(told: Tick | Sessions) -> None:
    print(json.dumps({type(told).__name__: asdict(told)}), flush=True)  # noqa: T201


async def main() -> None:
    vars(http_async)["Attempts"] = Counted
    load = Load(os.environ["URL"])
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, setattr, load, "going", False)
    await load.prepare()
    await load.run()
    tell(await load.sessions())


if __name__ == "__main__":
    asyncio.run(main())
