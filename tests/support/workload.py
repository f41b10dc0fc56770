"""Clients that create, change, delete and run programs at once, and know what each answer must be.

Every client goes to a random gateway for every call, so a program is created through one and run
through the other. What comes back is compared at once with what the program's last answered write
says; the tally at the end holds every answer that was not as it must be. A store that is too slow
for an answer is no wrong answer: it is counted, and the call is made again, as docs/retries.md has
it. So is a connection that broke, which is right only where a gateway was killed.

It can be a program of its own, for a pod (``python -c`` with this file's text).
"""

import asyncio
import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

Document = dict[str, Any]

_REPEATS = 5


@dataclass
class Tally:
    operations: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    workers: Counter[str] = field(default_factory=Counter)
    """That have run something."""
    unavailable: int = 0
    """Answers that the store was too slow for, each followed by a repeat."""
    broken: int = 0
    """Connections that broke under a call, each followed by a repeat."""

    def note(self, outcome: str) -> None:
        self.operations += 1
        self.outcomes[outcome] += 1


@dataclass
class Gateways:
    """The base URLs of gateways that share a store; a dead one is left out by ``lost``."""

    http: aiohttp.ClientSession
    urls: list[str]
    pool: str
    lost: set[str] = field(default_factory=set)
    unavailable: int = 0
    """Answers that the store was too slow for, each followed by a repeat."""
    broken: int = 0
    """Connections that broke under a call, each followed by a repeat."""

    @property
    def repeats(self) -> int:
        return self.unavailable + self.broken

    async def call(
        self, method: str, path: str, body: Any = None, *, url: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """One request to one gateway. Raises aiohttp.ClientError when that gateway is gone."""
        base = url or random.choice([u for u in self.urls if u not in self.lost])
        async with self.http.request(
            method,
            f"{base}/v1/pools/{self.pool}{path}",
            json=body,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        ) as answer:
            text = await answer.read()
            document = await answer.json(content_type=None) if text else None
            return answer.status, document

    async def call_surely(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """``call``, repeated through another gateway when the first one dies under it, and when
        the store did not answer in time."""
        for repeats_left in range(_REPEATS, -1, -1):
            try:
                status, document = await self.call(method, path, body)
            except aiohttp.ClientError:
                if not repeats_left:
                    raise
                self.broken += 1
                await asyncio.sleep(0.05)
                continue
            if not repeats_left or status != 503 or document["type"] != "store-unavailable":
                return status, document
            self.unavailable += 1
            await asyncio.sleep(document["retryAfter"])
        raise AssertionError("unreachable")


def constant_program(value: int, *, idempotent: bool = True) -> Document:
    source = f"def main(x: int) -> list[int]:\n    return [{value}, x]\n"
    return {"kind": "python", "source": source, "idempotent": idempotent}


async def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Besides:
    """What a client does beside its own operations."""

    every_fifth: Callable[[], Awaitable[None]] = _nothing
    """Its call after four operations of its own."""
    goes_on: Callable[[], bool] = lambda: False
    """Whether it works on though its share is done."""


class Author:
    """One client: creates programs, runs each at once, updates and deletes some."""

    def __init__(self, number: int, gateways: Gateways, tally: Tally, besides: Besides) -> None:
        self._besides = besides
        self._random = random.Random(number)
        self._gateways = gateways
        self._tally = tally
        self._values = itertools.count(number * 1_000_000)
        self._programs: dict[str, int] = {}

    async def work(self, operations: int) -> None:
        done, others = 0, 0
        while done < operations or self._besides.goes_on():
            done += await self._step()
            while done >= 4 * (others + 1):
                await self._besides.every_fifth()
                others += 1

    async def _step(self) -> int:
        if len(self._programs) < 3:
            return await self._create() + await self._run(newest=True)
        roll = self._random.random()
        if roll < 0.25:
            return await self._create() + await self._run(newest=True)
        if roll < 0.45:
            return await self._update()
        if roll < 0.55:
            return await self._delete()
        return await self._run()

    async def _create(self) -> int:
        value = next(self._values)
        status, document = await self._gateways.call_surely(
            "POST", "/programs", constant_program(value)
        )
        self._expect(status in {200, 201}, "create", status, document)
        if status in {200, 201}:
            self._programs[document["id"]] = value
        return 1

    async def _update(self) -> int:
        program, value = self._random.choice(list(self._programs)), next(self._values)
        status, document = await self._gateways.call_surely(
            "PUT", f"/programs/{program}", constant_program(value)
        )
        self._expect(status == 200, "update", status, document)
        self._programs[program] = value
        return 1 + await self._run(program)

    async def _delete(self) -> int:
        program = self._random.choice(list(self._programs))
        del self._programs[program]
        before = self._gateways.repeats
        status, document = await self._gateways.call_surely("DELETE", f"/programs/{program}")
        # A repeat of a delete whose first answer was lost with its gateway finds nothing, and so
        # does one whose first answer was that the store is too slow.
        repeated = self._gateways.repeats > before
        self._expect(
            status == 204 or (status == 404 and repeated),
            "delete",
            status,
            document,
        )
        status, document = await self._gateways.call_surely(
            "POST", f"/programs/{program}/run", {"inputs": {"x": 1}}
        )
        self._expect(status == 404, "run after delete", status, document)
        return 2

    async def _run(self, program: str | None = None, *, newest: bool = False) -> int:
        if not self._programs:
            return 0
        names = list(self._programs)
        program = program or (names[-1] if newest else self._random.choice(names))
        x = self._random.randrange(1_000_000)
        status, document = await self._gateways.call_surely(
            "POST", f"/programs/{program}/run", {"inputs": {"x": x}}
        )
        right = status == 200 and document["outputs"] == [self._programs[program], x]
        self._expect(right, "run", status, document)
        if right:
            self._tally.workers[document["execution"]["worker"]] += 1
        return 1

    def _expect(self, right: bool, what: str, status: int, document: Any) -> None:
        self._tally.note(f"{what} {status}")
        if not right:
            self._tally.wrong.append(f"{what}: {status} {document}")


async def stress(
    gateways: Gateways, *, clients: int, operations: int, besides: Besides = Besides()
) -> Tally:
    """``operations`` in all (a few more, for steps that take two), by ``clients`` at once."""
    tally = Tally()
    share = -(-operations // clients)
    await asyncio.gather(
        *(Author(number, gateways, tally, besides).work(share) for number in range(1, clients + 1))
    )
    tally.unavailable, tally.broken = gateways.unavailable, gateways.broken
    return tally


@dataclass(frozen=True)
class Harm:
    """A program that harms the process it runs in, and what its caller has to be told."""

    source: str
    status: int
    type: str
    """The problem's."""
    seconds: float = 30.0


HARMS = {
    "raise": Harm("def main():\n    raise ValueError('no')\n", 500, "program-error"),
    "exit": Harm("import os\ndef main():\n    os._exit(4)\n", 500, "program-exited"),
    "segfault": Harm(
        "import ctypes\ndef main():\n    ctypes.string_at(0)\n", 500, "program-crashed"
    ),
    "loop": Harm("def main():\n    while True:\n        pass\n", 504, "deadline-exceeded", 0.2),
}


class Harms:
    """Each of them in turn, where this file is all that there is of the tests."""

    def __init__(self, gateways: Gateways) -> None:
        self.wrong: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self._gateways = gateways
        self._next = itertools.cycle(HARMS.items())

    async def do(self) -> None:
        name, harm = next(self._next)
        program = {"kind": "python", "source": harm.source}
        body = {"program": program, "inputs": {}, "timeoutSeconds": harm.seconds}
        status, document = await self._gateways.call_surely("POST", "/run", body)
        self.outcomes[f"{name} {status}"] += 1
        if status != harm.status or document.get("type") != harm.type:
            self.wrong.append(f"{name}: {status} {document}")


def told(tally: Tally) -> str:
    """As JSON; ``dataclasses.asdict`` cannot copy a Counter."""
    return json.dumps(vars(tally))


async def main() -> None:
    """Prints the tally as JSON."""
    headers = {"Authorization": f"Bearer {os.environ['ANYPOD_API_KEY']}"}
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=90)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as http:
        gateways = Gateways(http, [os.environ["URL"]], "default")
        clients, operations = int(os.environ["CLIENTS"]), int(os.environ["OPERATIONS"])
        harms = Harms(gateways)
        besides = Besides(every_fifth=harms.do)
        tally = await stress(gateways, clients=clients, operations=operations, besides=besides)
    tally.wrong += harms.wrong
    tally.outcomes.update(harms.outcomes)
    print(told(tally))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
