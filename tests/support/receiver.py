"""A receiver of webhooks: a real HTTP server that answers as it is told, and keeps what came."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web

from anypod.api.webhooks import parse_secret, signature

SECRET = "whsec_YW55cG9kIHNpZ25zIHdoYXQgaXQgdGVsbHMgb2Ygam9icw=="
PATIENCE = 120.0
"""Another gateway takes over what a dead one was at within 40 seconds."""


@dataclass
class Told:
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def is_signed(self) -> bool:
        return self.is_signed_with(SECRET)

    def is_signed_with(self, secret: str) -> bool:
        at = int(self.headers["webhook-timestamp"])
        expected = signature(parse_secret(secret), self.id, at, self.body)
        return expected in self.headers["webhook-signature"].split(" ")


@dataclass
class Receiver:
    url: str = ""
    told: list[Told] = field(default_factory=list)
    answers: list[Callable[[], web.Response]] = field(default_factory=list)
    """To the first calls; then it says 204."""
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.let_go.set()

    def of(self, job: str) -> list[Told]:
        return [one for one in self.told if one.id == job]

    async def heard(self, job: str, count: int = 1) -> list[Told]:
        """What came of that job, when it came that often."""
        async with asyncio.timeout(PATIENCE):
            while len(self.of(job)) < count:
                self._news.clear()
                await self._news.wait()
        return self.of(job)

    def say(self, *statuses: int, **headers: str) -> None:
        """To the next calls."""
        self.answers += [
            partial(web.Response, status=status, headers=headers) for status in statuses
        ]

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.told.append(Told(headers, body))
        self._news.set()
        await self.let_go.wait()
        return self.answers.pop(0)() if self.answers else web.Response(status=204)


@asynccontextmanager
async def receiver(
    host: str = "127.0.0.1", secured: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", made._take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0, ssl_context=secured)
    await site.start()
    port = runner.addresses[0][1]
    made.url = f"{'https' if secured else 'http'}://{host}:{port}/ended"
    try:
        yield made
    finally:
        made.let_go.set()
        await runner.cleanup()
