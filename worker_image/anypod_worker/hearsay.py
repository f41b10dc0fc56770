"""What each gateway has last said of the store, for the others.

A gateway that the store does not answer cannot know whether it answers others, and so whether
programs are changed behind its back. Those others say so here: whoever has no link to a worker
cannot run anything.
"""

import asyncio

from anypod.wire.messages import OthersSaw, Saw, StoreSeen

KEPT = 32
"""Gateways; of more, those that the store has answered last. Old ones matter to nobody."""


class Hearsay:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._said: dict[str, tuple[float, int]] = {}
        """By gateway: when the store last answered it, and what it knew of."""

    def heard(self, gateway: str, message: StoreSeen) -> OthersSaw:
        """What the others have said."""
        now = self._loop.time()
        self._said[gateway] = now - message.seconds, message.version
        if len(self._said) > KEPT:
            del self._said[min(self._said, key=lambda name: self._said[name])]
        others = (said for name, said in self._said.items() if name != gateway)
        return OthersSaw([Saw(now - at, version) for at, version in others])
