"""All objects of a pool."""

from base64 import b64encode

from anypod.resources import link_tokens, names
from anypod_operator.kinds import BUDGET, DEPLOYMENT, SECRET, SERVICE, SERVICE_ACCOUNT, Raw
from anypod_operator.objects import pod
from anypod_operator.objects.metadata import head
from anypod_operator.objects.network_policy import network_policy
from anypod_operator.pools import Pool
from anypod_operator.settings import Settings

DISRUPTED = "25%"
"""Of the workers, that a drain of nodes may take at once; rounded up, so never none."""


def build(pool: Pool, settings: Settings) -> list[Raw]:
    """In the order in which they are to be applied. Raises BadTemplate."""
    token = link_tokens.derive(settings.link_key, pool.namespace, pool.name)
    return [
        _secret(pool, token),
        _service_account(pool),
        network_policy(pool, settings),
        _service(pool),
        _budget(pool),
        _deployment(pool, settings, token),
    ]


def _secret(pool: Pool, token: str) -> Raw:
    """What gateways show to the pool's workers."""
    return {
        **head(pool, SECRET, names.link_secret(pool.name)),
        "type": "Opaque",
        "data": {names.TOKEN_KEY: b64encode(token.encode()).decode()},
    }


def _service_account(pool: Pool) -> Raw:
    """Of its own, without any right, so that no pod has one by the namespace's default."""
    return {
        **head(pool, SERVICE_ACCOUNT, names.workers(pool.name)),
        "automountServiceAccountToken": False,
    }


def _service(pool: Pool) -> Raw:
    """Headless: it only makes EndpointSlices, which gateways watch."""
    return {
        **head(pool, SERVICE, names.workers(pool.name)),
        "spec": {
            "clusterIP": "None",
            "selector": names.worker_selector(pool.name),
            "ports": [
                {
                    "name": names.WORKER_PORT_NAME,
                    "port": names.WORKER_PORT,
                    "targetPort": names.WORKER_PORT_NAME,
                    "protocol": "TCP",
                }
            ],
        },
    }


def _budget(pool: Pool) -> Raw:
    return {
        **head(pool, BUDGET, names.workers(pool.name)),
        "spec": {
            "selector": {"matchLabels": names.worker_selector(pool.name)},
            "maxUnavailable": DISRUPTED,
            # A worker that does not serve anyway must not stand in the way of a node's drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def _deployment(pool: Pool, settings: Settings, token: str) -> Raw:
    rollout = pool.spec.rollout
    return {
        **head(pool, DEPLOYMENT, names.workers(pool.name)),
        "spec": {
            "replicas": pool.spec.replicas,
            "selector": {"matchLabels": names.worker_selector(pool.name)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxUnavailable": rollout.max_unavailable,
                    "maxSurge": rollout.max_surge,
                },
            },
            "progressDeadlineSeconds": rollout.progress_deadline_seconds,
            "revisionHistoryLimit": 3,
            "template": pod.template(pool, settings, token),
        },
    }
