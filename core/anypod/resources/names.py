"""How what is made for a pool is called and labelled: one place, for operator, gateway and chart.

The longest name, of a pod, is the pool's (40 characters at most) with ``-workers`` and the ten and
five characters that Kubernetes puts behind it; Kubernetes itself cuts it to 63.
"""

POOL_LABEL = "anypod.dev/pool"
COMPONENT_LABEL = "app.kubernetes.io/component"
MANAGER_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "anypod-operator"
WORKER_COMPONENT = "worker"

WORKER_CONTAINER = "worker"
WORKER_PORT = 8701
WORKER_PORT_NAME = "link"
TOKEN_KEY = "token"  # noqa: S105 - a key's name
"""Of the link Secret: what gateways show to workers."""


def workers(pool: str) -> str:
    """Of the Deployment, Service, PodDisruptionBudget, NetworkPolicy and ServiceAccount.

    EndpointSlices of the Service have the label ``kubernetes.io/service-name`` with it.
    """
    return f"{pool}-workers"


def for_clients(pool: str, namespace: str, home: str) -> str:
    """What clients call it: with its namespace, unless that is the gateways' own."""
    return pool if namespace == home else f"{pool}.{namespace}"


def link_secret(pool: str) -> str:
    return f"{pool}-link"


def worker_selector(pool: str) -> dict[str, str]:
    """Labels that exactly the pool's pods have, in its namespace."""
    return {POOL_LABEL: pool, COMPONENT_LABEL: WORKER_COMPONENT}


def labels(pool: str) -> dict[str, str]:
    """Of everything that is made for the pool, EndpointSlices included."""
    return {
        "app.kubernetes.io/name": "anypod",
        MANAGER_LABEL: MANAGER,
        **worker_selector(pool),
    }
