"""All objects of a pool but its link Secret, which is made once and never again."""

from anypod.resources import names
from anypod_operator.kinds import BUDGET, DEPLOYMENT, SERVICE, SERVICE_ACCOUNT, Raw
from anypod_operator.objects import pod
from anypod_operator.objects.metadata import head
from anypod_operator.objects.network_policy import network_policy
from anypod_operator.pools import Pool
from anypod_operator.settings import Settings

DISRUPTED = "25%"
"""Of the workers, that a drain of nodes may take at once; rounded up, so never none."""


def build(pool: Pool, settings: Settings, link_uid: str) -> list[Raw]:
    """In the order in which they are to be applied. Raises BadTemplate."""
    return [
        _service_account(pool),
        network_policy(pool, settings),
        _service(pool),
        _budget(pool),
        _deployment(pool, settings, link_uid),
    ]


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


def _deployment(pool: Pool, settings: Settings, link_uid: str) -> Raw:
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
            "template": pod.template(pool, settings, link_uid),
        },
    }
