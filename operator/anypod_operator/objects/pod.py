"""The pod of a worker.

Three layers: defaults of ours, the pool's template over them, and over both what makes a worker a
worker and keeps it within the restricted profile of Pod Security admission.
"""

import math

import msgspec

from anypod.resources import link_tokens, names
from anypod.resources.worker_config import worker_config_in_pod
from anypod.wire import pod as pod_variables
from anypod_operator.kinds import Raw
from anypod_operator.objects.layers import lay_over
from anypod_operator.objects.quantities import is_less
from anypod_operator.pools import Pool
from anypod_operator.settings import Settings

LINK_ANNOTATION = "anypod.dev/link"
"""Tells one link token from another, and not what it is: a new token means new pods."""

_NOT_THE_TEMPLATES = {"appArmorProfile": None, "seLinuxOptions": None, "windowsOptions": None}
"""What the runtime confines a container by unless it is told otherwise, which only loosens."""

_REQUESTS = {"cpu": "100m", "memory": "256Mi"}

STOP_SECONDS = 15
"""Beyond drainSeconds, for the last answers and for killing what does not end."""


def template(pool: Pool, settings: Settings, token: str) -> Raw:
    """Raises BadTemplate."""
    given = pool.spec.template
    return {
        "metadata": {
            "labels": {**given.metadata.labels, **names.labels(pool.name)},
            "annotations": {**given.metadata.annotations, LINK_ANNOTATION: link_tokens.mark(token)},
        },
        "spec": lay_over(lay_over(_defaults(pool, given.spec), given.spec), _ours(pool, settings)),
    }


def _defaults(pool: Pool, given: Raw) -> Raw:
    return {
        "containers": [
            {"name": names.WORKER_CONTAINER, "resources": {"requests": _requests(given)}}
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": names.worker_selector(pool.name)},
                "matchLabelKeys": ["pod-template-hash"],
            }
        ],
    }


def _requests(given: Raw) -> Raw:
    """What is limited to less is left out: Kubernetes then requests as much as the limit."""
    limits = _limits(given)
    return {
        resource: ours
        for resource, ours in _REQUESTS.items()
        if not is_less(limits.get(resource), ours)
    }


def _limits(given: Raw) -> Raw:
    """The worker's; none of a template of another shape, which is told of when it is merged."""
    try:
        (worker,) = (one for one in given["containers"] if one["name"] == names.WORKER_CONTAINER)
        return dict(worker["resources"]["limits"])
    except (KeyError, TypeError, ValueError):
        return {}


def _ours(pool: Pool, settings: Settings) -> Raw:
    spec: Raw = {
        "automountServiceAccountToken": False,
        "containers": [_worker(pool, settings)],
        "enableServiceLinks": False,
        "hostIPC": False,
        "hostNetwork": False,
        "hostPID": False,
        "securityContext": {
            **_NOT_THE_TEMPLATES,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "serviceAccountName": names.workers(pool.name),
        "shareProcessNamespace": False,
        "terminationGracePeriodSeconds": math.ceil(pool.spec.drain_seconds) + STOP_SECONDS,
    }
    if pool.spec.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": one.name} for one in pool.spec.image_pull_secrets]
    return spec


def _worker(pool: Pool, settings: Settings) -> Raw:
    container: Raw = {
        "name": names.WORKER_CONTAINER,
        "image": pool.spec.image or settings.worker_image,
        "env": _variables(pool),
        "ports": [{"name": names.WORKER_PORT_NAME, "containerPort": names.WORKER_PORT}],
        "startupProbe": _probe("/healthz", period=1, failures=120),
        "readinessProbe": _probe("/readyz", period=1, failures=2),
        "livenessProbe": _probe("/healthz", period=10, failures=6),
        "securityContext": {
            **_NOT_THE_TEMPLATES,
            "allowPrivilegeEscalation": False,
            # The empty list is said, so that it is ours: what somebody adds to the Deployment goes.
            "capabilities": {"add": [], "drop": ["ALL"]},
            "privileged": False,
            "procMount": None,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # The last line of a worker that gives up says why; so it comes into the pod's status.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - in the pod
    }
    if pool.spec.env_from:
        container["envFrom"] = [
            one.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
            for one in pool.spec.env_from
        ]
    return container


def _variables(pool: Pool) -> list[Raw]:
    declared = [
        one.model_dump(by_alias=True, exclude_none=True, include={"name", "value_from"})
        if one.value_from is not None
        else {"name": one.name, "value": one.value}
        for one in pool.spec.env
    ]
    config = worker_config_in_pod(pool.name, pool.spec)
    return [
        *declared,
        {"name": pod_variables.CONFIG, "value": msgspec.json.encode(config).decode()},
        {"name": pod_variables.NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {
            "name": pod_variables.TOKEN,
            "valueFrom": {
                "secretKeyRef": {"name": names.link_secret(pool.name), "key": names.TOKEN_KEY}
            },
        },
        *_lm_keys(pool),
    ]


def _lm_keys(pool: Pool) -> list[Raw]:
    """The keys of the pool's LMs, and which variable holds whose."""
    found: list[Raw] = []
    for number, lm in enumerate(pool.spec.lms):
        if lm.api_key is None:
            continue
        variable = lm.api_key.env or ""
        if lm.api_key.secret_key_ref is not None:
            variable = f"{pod_variables.LM_SECRET}{number}"
            reference = lm.api_key.secret_key_ref.model_dump(by_alias=True)
            found.append({"name": variable, "valueFrom": {"secretKeyRef": reference}})
        owner = f"{pod_variables.LM_KEY}{number}"
        found.append({"name": owner, "value": f"{lm.name}={variable}"})
    return found


def _probe(path: str, *, period: int, failures: int) -> Raw:
    return {
        "httpGet": {"path": path, "port": names.WORKER_PORT_NAME},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
