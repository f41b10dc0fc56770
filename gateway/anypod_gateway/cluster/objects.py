"""From objects of the Kubernetes API to pools and their workers. Pure.

A worker is an endpoint of an EndpointSlice of its pool, so what Kubernetes' own proxies would send
to is what is routed to: ready, and not terminating.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from anypod.resources.names import POOL_LABEL, WORKER_PORT_NAME
from anypod_gateway.discovery import Endpoint

Raw = Mapping[str, Any]
"""An object of the API, as JSON."""

Name = tuple[str, str]
"""Namespace and name."""


def name_of(raw: Raw) -> Name:
    metadata = raw["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def why_degraded(pool: Raw) -> str:
    """What its operator says is wrong with it; empty if that is nothing."""
    status = pool.get("status")
    conditions = status.get("conditions") if isinstance(status, Mapping) else None
    for each in conditions or ():
        if each.get("type") == "Degraded" and each.get("status") == "True":
            return f"{each.get('reason')}: {each.get('message')}"
    return ""


def endpoints_of(slices: Iterable[Raw]) -> dict[Name, tuple[Endpoint, ...]]:
    """By pool. While a pod moves from slice to slice it may stand in two: the better news holds."""
    found: dict[Name, dict[str, Endpoint]] = {}
    for each in slices:
        namespace, _ = name_of(each)
        pool = (each["metadata"].get("labels") or {}).get(POOL_LABEL)
        port = _link_port(each)
        if pool is None or port is None:
            continue
        workers = found.setdefault((namespace, pool), {})
        for raw in each.get("endpoints") or ():
            endpoint = _endpoint(raw, port)
            if endpoint is not None and _is_better(endpoint, workers.get(endpoint.name)):
                workers[endpoint.name] = endpoint
    return {name: tuple(workers.values()) for name, workers in found.items()}


def _link_port(each: Raw) -> int | None:
    for port in each.get("ports") or ():
        if port.get("name") == WORKER_PORT_NAME:
            found: int | None = port.get("port")
            return found
    return None


def _endpoint(raw: Raw, port: int) -> Endpoint | None:
    target = raw.get("targetRef") or {}
    addresses = raw.get("addresses") or ()
    if target.get("kind") != "Pod" or not addresses:
        return None
    conditions = raw.get("conditions") or {}
    return Endpoint(
        name=target["name"],
        host=addresses[0],
        port=port,
        ready=conditions.get("ready") is not False,  # unknown means ready, says the API
        terminating=conditions.get("terminating") is True,
    )


def _is_better(new: Endpoint, known: Endpoint | None) -> bool:
    if known is None:
        return True
    return (new.ready, not new.terminating) > (known.ready, not known.terminating)
