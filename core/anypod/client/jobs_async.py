"""Jobs, for the client that awaits."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Unpack

from anypod.api.executions import Logs
from anypod.api.jobs import OPEN, JobDocument
from anypod.client.answers import Answer
from anypod.client.calls import Api
from anypod.client.errors import AnswerLost
from anypod.client.events import EventParser, NothingLeft
from anypod.client.http_async import Transport
from anypod.client.job_calls import Following, JobApi, JobEvent, JobFilter, Waiting

PAUSE_SECONDS = 0.2
"""Before a stream that has ended early is taken up again."""


class AsyncJob:
    """A handle of one job; making it asks nobody."""

    def __init__(self, transport: Transport, api: Api, id_: str) -> None:
        self.id = id_
        self._transport = transport
        self._api = JobApi(api)

    def __repr__(self) -> str:
        return f"<job {self.id}>"

    async def get(self) -> JobDocument:
        return await self._transport.send(self._api.get(self.id))

    async def wait(self, timeout: float | None = None) -> JobDocument:  # noqa: ASYNC109
        """The job when it has ended. Raises TimedOut; the job goes on."""
        waiting = Waiting(self.id, timeout, time.monotonic)
        while True:
            found = await self._transport.send(self._api.get(self.id, waiting.left()))
            if found.state not in OPEN:
                return found

    async def result(self, timeout: float | None = None) -> Answer:  # noqa: ASYNC109
        """What it gave, once it has ended; ``timeout=0`` does not wait for that. Raises what a call
        that had waited would have raised; Conflict for a job that was cancelled, or has not ended;
        TimedOut."""
        if timeout != 0:
            await self.wait(timeout)
        return await self._transport.send(self._api.result(self.id))

    async def logs(self) -> Logs:
        """What it printed; there when it has ended."""
        return await self._transport.send(self._api.logs(self.id))

    async def events(self, after: int = 0) -> AsyncIterator[JobEvent]:
        """Its states beyond that number, and its progress, until it has ended."""
        following = Following(after)
        while not following.is_over:
            parser = EventParser()
            try:
                call = self._api.events(self.id, following.after)
                async with aclosing(await self._transport.open(call)) as pieces:
                    async for piece in pieces:
                        for raw in parser.feed(piece):
                            event = following.take(raw)
                            if event is not None:
                                yield event
                            if following.is_over:
                                return
            except NothingLeft:
                return
            except AnswerLost:
                pass
            if not following.is_over:  # its gateway has gone, or is about to
                await asyncio.sleep(PAUSE_SECONDS)

    async def cancel(self) -> JobDocument:
        """It ends soon; one that has ended stays as it is."""
        return await self._transport.send(self._api.cancel(self.id))

    async def delete(self) -> None:
        """One that has ended."""
        await self._transport.send(self._api.delete(self.id))


class AsyncJobs:
    def __init__(self, transport: Transport, api: Api) -> None:
        self._transport = transport
        self._api = JobApi(api)

    async def list(self, **wanted: Unpack[JobFilter]) -> AsyncIterator[JobDocument]:
        """The latest first, page by page as they are asked for."""
        after: str | None = None
        while True:
            page = await self._transport.send(self._api.list(wanted, after))
            for job in page.items:
                yield job
            after = page.next
            if after is None:
                return
