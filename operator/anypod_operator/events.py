"""Events about pools: what a person would want to read under ``kubectl describe wp``.

One object for each thing that happens, counted when it happens again. An event that cannot be
written is logged, and holds nothing up.
"""

import hashlib
import logging
import time
from datetime import UTC, datetime
from typing import Literal

from anypod.resources.names import MANAGER
from anypod_operator.api import Api
from anypod_operator.api_errors import ApiError, Conflict, Ending
from anypod_operator.kinds import EVENT, POOL, Raw
from anypod_operator.pools import Owner

log = logging.getLogger(__name__)

SAME_SECONDS = 60.0
"""In which the same is not told again."""
REMEMBERED = 10_000
_MESSAGE_LIMIT = 1000
Type = Literal["Normal", "Warning"]


class Events:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._told: dict[str, float] = {}

    async def tell(self, owner: Owner, type_: Type, reason: str, message: str) -> None:
        log.log(
            logging.WARNING if type_ == "Warning" else logging.INFO,
            "%s: %s: %s",
            owner.key,
            reason,
            message,
        )
        body = _event(owner, type_, reason, message[:_MESSAGE_LIMIT])
        if self._is_fresh(body["metadata"]["name"]):
            try:
                await self._write(body)
            except Ending:
                return
            except ApiError as failure:
                log.warning("%s: the event %s could not be written: %s", owner.key, reason, failure)

    def _is_fresh(self, name: str) -> bool:
        now = time.monotonic()
        if now - self._told.get(name, -SAME_SECONDS) < SAME_SECONDS:
            return False
        if len(self._told) >= REMEMBERED:
            self._told.clear()
        self._told[name] = now
        return True

    async def _write(self, body: Raw) -> None:
        try:
            await self._api.create(body)
        except Conflict:
            metadata = body["metadata"]
            seen = await self._api.get(EVENT, metadata["namespace"], metadata["name"])
            again = {"count": seen.get("count", 1) + 1, "lastTimestamp": body["lastTimestamp"]}
            await self._api.merge(EVENT, metadata["namespace"], metadata["name"], again)


def _event(owner: Owner, type_: Type, reason: str, message: str) -> Raw:
    digest = hashlib.sha256(f"{owner.uid} {type_} {reason} {message}".encode()).hexdigest()[:16]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {
            "name": f"{owner.key.name}.{digest}",
            "namespace": owner.key.namespace,
        },
        "involvedObject": {
            "apiVersion": POOL.api_version,
            "kind": POOL.kind,
            "name": owner.key.name,
            "namespace": owner.key.namespace,
            "uid": owner.uid,
        },
        "type": type_,
        "reason": reason,
        "message": message,
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "reportingInstance": MANAGER,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
