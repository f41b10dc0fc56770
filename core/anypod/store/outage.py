"""Trouble that lasts: one log line when it begins, one when it is over, longer pauses meanwhile."""

import asyncio
import logging
import random
import time

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class Outage:
    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self._since: float | None = None
        self._pause = _FIRST_PAUSE

    def failed(self, reason: object) -> None:
        if self._since is None:
            self._since = time.monotonic()
            self._log.warning("%s: %s; trying on", self._what, reason)

    def over(self) -> None:
        """Call it when things have been well for a while, not at the first good sign: a store
        that takes connections and drops them again would fill the log."""
        if self._since is not None:
            self._log.info(
                "%s: well again after %.1f s", self._what, time.monotonic() - self._since
            )
        self._since = None
        self._pause = _FIRST_PAUSE

    async def pause(self) -> None:
        """Wait before the next attempt; longer each time, and never in step with others."""
        await asyncio.sleep(self._pause * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
