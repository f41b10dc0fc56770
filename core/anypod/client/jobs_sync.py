"""Jobs, for the client that blocks."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Unpack

from anypod.api.executions import Logs
from anypod.api.jobs import OPEN, JobDocument
from anypod.client.answers import Answer
from anypod.client.calls import Api
from anypod.client.errors import AnswerLost
from anypod.client.events import EventParser, NothingLeft
from anypod.client.http_sync import Transport
from anypod.client.job_calls import Following, JobApi, JobEvent, JobFilter, Waiting

PAUSE_SECONDS = 0.2
"""Before a stream that has ended early is taken up again."""


class Job:
    """A handle of one job; making it asks nobody."""

    def __init__(self, transport: Transport, api: Api, id_: str) -> None:
        self.id = id_
        self._transport = transport
        self._api = JobApi(api)

    def __repr__(self) -> str:
        return f"<job {self.id}>"

    def get(self) -> JobDocument:
        return self._transport.send(self._api.get(self.id))

    def wait(self, timeout: float | None = None) -> JobDocument:
        """The job when it has ended. Raises TimedOut; the job goes on."""
        waiting = Waiting(self.id, timeout, time.monotonic)
        while True:
            found = self._transport.send(self._api.get(self.id, waiting.left()))
            if found.state not in OPEN:
                return found

    def result(self, timeout: float | None = None) -> Answer:
        """What it gave, once it has ended; ``timeout=0`` does not wait for that. Raises what a call
        that had waited would have raised; Conflict for a job that was cancelled, or has not ended;
        TimedOut."""
        if timeout != 0:
            self.wait(timeout)
        return self._transport.send(self._api.result(self.id))

    def logs(self) -> Logs:
        """What it printed; there when it has ended."""
        return self._transport.send(self._api.logs(self.id))

    def events(self, after: int = 0) -> Iterator[JobEvent]:
        """Its states beyond that number, and its progress, until it has ended."""
        following = Following(after)
        while not following.is_over:
            parser = EventParser()
            try:
                call = self._api.events(self.id, following.after)
                with closing(self._transport.open(call)) as pieces:
                    for piece in pieces:
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
                time.sleep(PAUSE_SECONDS)

    def cancel(self) -> JobDocument:
        """It ends soon; one that has ended stays as it is."""
        return self._transport.send(self._api.cancel(self.id))

    def delete(self) -> None:
        """One that has ended."""
        self._transport.send(self._api.delete(self.id))


class Jobs:
    def __init__(self, transport: Transport, api: Api) -> None:
        self._transport = transport
        self._api = JobApi(api)

    def list(self, **wanted: Unpack[JobFilter]) -> Iterator[JobDocument]:
        """The latest first, page by page as they are asked for."""
        after: str | None = None
        while True:
            page = self._transport.send(self._api.list(wanted, after))
            yield from page.items
            after = page.next
            if after is None:
                return
