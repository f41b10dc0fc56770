"""Manifests of pools that must be refused, each with the field that its refusal must name."""

from typing import Any, NamedTuple


class Bad(NamedTuple):
    what: str
    spec: Any
    field: str
    """As the API server writes it, or a part of the message where a rule has no better place."""
    name: str = "pool"
    by_api_alone: bool = False
    """The models cannot tell: only the API server knows that it stands twice, for example."""


def _condition(**changes: Any) -> dict[str, Any]:
    return {"key": "app", "operator": "In", "values": ["a"], **changes}


_EXISTS = _condition(operator="Exists")

BAD = [
    Bad("replicas below zero", {"replicas": -1}, "spec.replicas"),
    Bad("replicas beyond any cluster", {"replicas": 1001}, "spec.replicas"),
    Bad("replicas as words", {"replicas": "four"}, "spec.replicas"),
    Bad("half a worker", {"replicas": 1.5}, "spec.replicas"),
    Bad("no executor", {"executors": 0}, "spec.executors"),
    Bad("a field that does not exist", {"replica": 3}, "spec.replica"),
    Bad("a field that does not exist, deeper", {"limits": {"memoryy": 1}}, "spec.limits.memoryy"),
    Bad("a choice that is none", {"isolation": "none"}, "spec.isolation"),
    Bad("a text for a list", {"preload": "json"}, "spec.preload"),
    Bad("a module that cannot be one", {"preload": ["no module"]}, "spec.preload[0]"),
    Bad("an endless list", {"preload": ["json"] * 201}, "spec.preload"),
    Bad("a quantity that is none", {"limits": {"memory": "lots"}}, "spec.limits.memory"),
    Bad("a quantity with a fraction", {"limits": {"memory": "1.5Gi"}}, "spec.limits.memory"),
    Bad("too little memory, in words", {"limits": {"memory": "1Mi"}}, "spec.limits.memory"),
    Bad("too little memory, in bytes", {"limits": {"memory": 1024}}, "spec.limits.memory"),
    Bad("more memory than there is", {"limits": {"memory": "1025Gi"}}, "spec.limits.memory"),
    Bad("bodies beyond the bound", {"limits": {"bodyBytes": "1Gi"}}, "spec.limits.bodyBytes"),
    Bad("no time", {"limits": {"timeoutSeconds": 0}}, "spec.limits.timeoutSeconds"),
    Bad("a default above the most", {"limits": {"timeoutSeconds": 601}}, "spec.limits"),
    Bad("a negative queue", {"queue": {"depth": -1}}, "spec.queue.depth"),
    Bad("a wait of a day", {"queue": {"maxWaitSeconds": 86400}}, "spec.queue.maxWaitSeconds"),
    Bad("a header with a space", {"sessions": {"header": "X Session"}}, "spec.sessions.header"),
    Bad("a header with a meaning", {"sessions": {"header": "Content-type"}}, "spec.sessions"),
    Bad("a header of AnyPod's own", {"sessions": {"header": "Prefer"}}, "spec.sessions"),
    Bad("a policy that is none", {"sessions": {"onBusy": "wait"}}, "spec.sessions.onBusy"),
    Bad("an age of nothing", {"recycle": {"maxAgeSeconds": 0}}, "spec.recycle.maxAgeSeconds"),
    Bad("an LM without a model", {"lms": [{"name": "fast"}]}, "spec.lms[0].model"),
    Bad("an LM whose name is none", {"lms": [{"name": "Fast!", "model": "x"}]}, "spec.lms[0].name"),
    Bad(
        "an LM hotter than any",
        {"lms": [{"name": "fast", "model": "x", "temperature": 3}]},
        "spec.lms[0].temperature",
    ),
    Bad(
        "an LM with its key in its address",
        {"lms": [{"name": "fast", "model": "x", "apiBase": "http://user:key@host/v1"}]},
        "spec.lms[0].apiBase",
    ),
    Bad(
        "a key as it is",
        {"lms": [{"name": "fast", "model": "x", "apiKey": "sk-1"}]},
        "spec.lms[0].apiKey",
    ),
    Bad(
        "a key from nowhere",
        {"lms": [{"name": "fast", "model": "x", "apiKey": {}}]},
        "spec.lms[0].apiKey",
    ),
    Bad(
        "a key in a variable of AnyPod's own",
        {"lms": [{"name": "fast", "model": "x", "apiKey": {"env": "ANYPOD_LINK_TOKEN"}}]},
        "spec.lms[0].apiKey",
    ),
    Bad("two LMs of one name", {"lms": [{"name": "a", "model": "x"}] * 2}, "spec"),
    Bad("a default LM that is none", {"defaultLm": "fast"}, "spec"),
    Bad("an endless age", {"recycle": {"maxAgeSeconds": 1e9}}, "spec.recycle.maxAgeSeconds"),
    Bad("endless executions", {"recycle": {"maxExecutions": 2**60}}, "spec.recycle.maxExecutions"),
    Bad("endless growth", {"recycle": {"memoryGrowth": 2**60}}, "spec.recycle.memoryGrowth"),
    Bad("a variable without a name", {"env": [{"value": "x"}]}, "spec.env[0].name"),
    Bad("a variable with a dash", {"env": [{"name": "A-B"}]}, "spec.env[0].name"),
    Bad("a variable of AnyPod's own", {"env": [{"name": "ANYPOD_WORKER_NAME"}]}, "spec.env[0]"),
    Bad(
        "a variable with two values",
        {
            "env": [
                {
                    "name": "A",
                    "value": "x",
                    "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}},
                }
            ]
        },
        "spec.env[0]",
    ),
    Bad(
        "a variable from nowhere",
        {"env": [{"name": "A", "valueFrom": {}}]},
        "spec.env[0].valueFrom",
    ),
    Bad(
        "a variable twice",
        {"env": [{"name": "A"}, {"name": "A"}]},
        "spec.env[1]",
        by_api_alone=True,
    ),
    Bad(
        "variables from two places",
        {"envFrom": [{"secretRef": {"name": "a"}, "configMapRef": {"name": "b"}}]},
        "spec.envFrom[0]",
    ),
    Bad(
        "a rollout that cannot begin",
        {"rollout": {"maxUnavailable": 0, "maxSurge": "0%"}},
        "spec.rollout",
    ),
    Bad("a share beyond all", {"rollout": {"maxSurge": "101%"}}, "spec.rollout.maxSurge"),
    Bad("a negative share", {"rollout": {"maxSurge": -1}}, "spec.rollout.maxSurge"),
    Bad("an egress that is none", {"network": {"egress": "some"}}, "spec.network.egress"),
    Bad("a peer that is nobody", {"network": {"peers": [{}]}}, "spec.network.peers[0]"),
    Bad(
        "an address for a network",
        {"network": {"peers": [{"cidr": "10.0.0.1/8"}]}},
        "spec.network.peers[0]",
    ),
    Bad(
        "words for a network",
        {"network": {"peers": [{"cidr": "everywhere"}]}},
        "spec.network.peers[0]",
    ),
    Bad(
        "a port that is none",
        {"network": {"peers": [{"cidr": "10.0.0.0/8", "ports": [{"port": 70000}]}]}},
        "spec.network.peers[0].ports[0].port",
    ),
    Bad(
        "ports backwards",
        {"network": {"peers": [{"cidr": "10.0.0.0/8", "ports": [{"port": 9, "endPort": 8}]}]}},
        "spec.network.peers[0].ports[0]",
    ),
    Bad(
        "a label whose key is none",
        {"network": {"peers": [{"podSelector": {"matchLabels": {"not a key": "x"}}}]}},
        "spec.network.peers[0].podSelector",
    ),
    Bad(
        "a label whose value is none",
        {"network": {"peers": [{"podSelector": {"matchLabels": {"app": "not a value"}}}]}},
        "spec.network.peers[0].podSelector.matchLabels.app",
    ),
    Bad(
        "a condition on a label whose key is none",
        {"network": {"peers": [{"podSelector": {"matchExpressions": [_condition(key="-")]}}]}},
        "spec.network.peers[0].podSelector.matchExpressions[0].key",
    ),
    Bad(
        "a label that must be one of no values",
        {"network": {"peers": [{"podSelector": {"matchExpressions": [_condition(values=[])]}}]}},
        "spec.network.peers[0].podSelector.matchExpressions[0]",
    ),
    Bad(
        "a label that must exist with a value",
        {"network": {"peers": [{"namespaceSelector": {"matchExpressions": [_EXISTS]}}]}},
        "spec.network.peers[0].namespaceSelector.matchExpressions[0]",
    ),
    Bad(
        "a label of pods whose key is none",
        {"template": {"metadata": {"labels": {"a/b/c": "x"}}}},
        "spec.template.metadata",
    ),
    Bad("a drain of a day", {"drainSeconds": 86400}, "spec.drainSeconds"),
    Bad("an image with a space", {"image": "a b"}, "spec.image"),
    Bad("a secret without a name", {"imagePullSecrets": [{}]}, "spec.imagePullSecrets[0].name"),
    Bad("a template field beside spec", {"template": {"specs": {}}}, "spec.template.specs"),
    Bad("a list for the spec", [], "spec"),
    Bad("a name that is too long", {}, "metadata.name", name="p" * 41),
    Bad("a name that begins with a digit", {}, "metadata.name", name="1pool"),
    Bad("a name with a dot", {}, "metadata.name", name="a.b"),
]
"""More than the twenty-five that matter most: each stands for its kind."""
