"""Whether the cluster has the CRD that this operator is made for."""

import asyncio
import logging
from typing import Any

from anypod.resources.crd import definition
from anypod_operator.api import Api
from anypod_operator.api_errors import ApiError
from anypod_operator.kinds import POOL, Raw

log = logging.getLogger(__name__)

PAUSE = 2.0
TRIES = 30
_CURE = "kubectl apply --server-side -f crds/"
_GROUP = f"/apis/{POOL.group}/{POOL.version}"


async def wait_for_crd(api: Api) -> None:
    """Until the API serves WorkerPools; why it waits is said once for each reason."""
    said = ""
    while True:
        try:
            if await api.exists(_GROUP):
                return
            why = f"the cluster has no {POOL.plural}.{POOL.group}: {_CURE}"
        except ApiError as reason:
            why = str(reason)
        if why != said:
            log.warning("waiting: %s", why)
            said = why
        await asyncio.sleep(PAUSE)


async def warn_of_old_crd(api: Api) -> None:
    """Fields that the cluster would silently drop are named. Its description of a CRD comes a few
    seconds after the CRD."""
    for _ in range(TRIES):
        try:
            lacking = await fields_lacking(api)
        except (ApiError, KeyError):
            await asyncio.sleep(PAUSE)
            continue
        if lacking:
            log.error(
                "the cluster's CRD of %s is of another version and does not know %s: %s",
                POOL.plural,
                ", ".join(lacking),
                _CURE,
            )
        return
    log.warning("the cluster's description of %s could not be read", POOL.plural)


async def fields_lacking(api: Api) -> list[str]:
    """Paths that our CRD has and the cluster's has not. Raises ApiError, KeyError."""
    document = await api.document(f"/openapi/v3{_GROUP}")
    schemas = document["components"]["schemas"]
    served = schemas[".".join([*reversed(POOL.group.split(".")), POOL.version, POOL.kind])]
    (version,) = definition()["spec"]["versions"]
    ours = version["schema"]["openAPIV3Schema"]
    return sorted(_paths(_only(ours)) - _paths(_only(served)))


def _only(schema: Raw) -> Raw:
    properties = schema["properties"]
    return {"properties": {name: properties.get(name, {}) for name in ("spec", "status")}}


def _paths(schema: Any, prefix: str = "") -> set[str]:
    found = set()
    for name, inner in schema.get("properties", {}).items():
        found |= {f"{prefix}{name}", *_paths(inner, f"{prefix}{name}.")}
    if "items" in schema:
        found |= _paths(schema["items"], prefix)
    return found
