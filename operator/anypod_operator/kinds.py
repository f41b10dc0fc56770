"""The kinds of objects that the operator reads or writes, and where the API has them."""

from dataclasses import dataclass
from typing import Any

from anypod.resources import names, workerpool

Raw = dict[str, Any]
"""An object of the API, as JSON."""


@dataclass(frozen=True, slots=True)
class Kind:
    group: str
    version: str
    kind: str
    plural: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str = "") -> str:
        """Of one object, of all in a namespace, or (None) of all."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{namespace}" if namespace is not None else ""
        return f"{root}{within}/{self.plural}" + (f"/{name}" if name else "")


POOL = Kind(workerpool.GROUP, workerpool.VERSION, workerpool.KIND, workerpool.PLURAL)
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments")
SERVICE = Kind("", "v1", "Service", "services")
BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts")
SECRET = Kind("", "v1", "Secret", "secrets")
POD = Kind("", "v1", "Pod", "pods")
EVENT = Kind("", "v1", "Event", "events")

CHILDREN = (SECRET, SERVICE_ACCOUNT, NETWORK_POLICY, SERVICE, BUDGET, DEPLOYMENT)
"""In the order in which they are made: what pods need comes before them."""

WATCHED = (POOL, *CHILDREN, POD)
BY_NAME = {kind.kind: kind for kind in (*WATCHED, EVENT)}

SELECTORS = dict.fromkeys((*CHILDREN, POD), f"{names.MANAGER_LABEL}={names.MANAGER}")
"""What of a kind is ours, so that nothing else is sent to the operator."""
