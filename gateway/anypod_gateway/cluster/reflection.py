"""What the API server has of one kind of objects, kept by a list and a watch.

While the server is away the last known state holds: workers go on serving, and gateways route to
them. A watch that goes silent is taken for broken and begun anew.
"""

import asyncio
import logging
from collections.abc import Callable, Collection

from anypod.store.outage import Outage
from anypod_gateway.cluster.connection import Api, ApiAway, Expired, Forbidden
from anypod_gateway.cluster.objects import Name, Raw, name_of

log = logging.getLogger(__name__)

TRUSTED_SECONDS = 2.0
"""A list and a watch that have lasted this long were well; what ends sooner is not tried again at
once, whatever its end was: a server in trouble must not be asked without a pause."""


class Reflection:
    def __init__(self, api: Api, path: str, selector: str, on_change: Callable[[], None]) -> None:
        self.is_synced = False
        self.is_refused = False
        """It may not be read, as when its namespace was deleted and took the Role along."""
        self._api = api
        self._path = path
        self._selector = selector
        self._on_change = on_change
        self._objects: dict[Name, Raw] = {}
        self._outage = Outage(log, f"the watch of {path}")

    @property
    def objects(self) -> Collection[Raw]:
        return self._objects.values()

    async def run(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        version = ""
        while True:
            began = loop.time()
            try:
                version = await self._follow(version or await self._read_all())
            except Expired:
                version = ""
            except ApiAway as reason:
                # What was missed meanwhile may be forgotten by then; a list is always right.
                version = ""
                self._outage.failed(str(reason))
                self._note_refusal(isinstance(reason, Forbidden))
            if loop.time() - began < TRUSTED_SECONDS:
                await self._outage.pause()

    async def _read_all(self) -> str:
        items, version = await self._api.list_all(self._path, self._selector)
        self._objects = {name_of(item): item for item in items}
        self.is_synced, self.is_refused = True, False
        self._on_change()
        return version

    def _note_refusal(self, is_refused: bool) -> None:
        if is_refused != self.is_refused:
            self.is_refused = is_refused
            self._on_change()

    async def _follow(self, version: str) -> str:
        """Until the server ends the watch; the version to go on from."""
        loop = asyncio.get_running_loop()
        trusted_at = loop.time() + TRUSTED_SECONDS
        async for event in self._api.watch(self._path, self._selector, version):
            if loop.time() >= trusted_at:
                self._outage.over()
            changed = event["object"]
            version = changed["metadata"]["resourceVersion"]
            match event["type"]:
                case "ADDED" | "MODIFIED":
                    self._objects[name_of(changed)] = changed
                    self._on_change()
                case "DELETED":
                    self._objects.pop(name_of(changed), None)
                    self._on_change()
        if loop.time() >= trusted_at:
            self._outage.over()
        return version
