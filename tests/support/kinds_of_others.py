"""Custom resources that belong to others, as far as the chart makes such objects.

Written by hand after their references, so that an API server refuses what those would: Gateway API
v1 (HTTPRoute), and the Prometheus operator's monitoring.coreos.com/v1 (ServiceMonitor,
PrometheusRule). A field that is not here is refused too: look it up there, and add it.
"""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 253}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
DURATION: Schema = {"type": "string", "pattern": r"^(0|[0-9]+(y|w|d|h|m|s|ms))+$"}


def an(*required: str, **properties: Schema) -> Schema:
    wanted = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, **wanted}


def some(items: Schema, most: int = 64) -> Schema:
    return {"type": "array", "items": items, "maxItems": most}


def choice(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def definition(group: str, kind: str, version: str, spec: Schema) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            # Groups of the Kubernetes project are for what it has looked at.
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": an("spec", spec=spec)},
                }
            ],
        },
    }


PARENT = an("name", group=TEXT, kind=TEXT, name=NAME, namespace=NAME, port=PORT, sectionName=NAME)
BACKEND = an(
    "name", group=TEXT, kind=TEXT, name=NAME, namespace=NAME, port=PORT, weight={"type": "integer"}
)
PATH = an(type=choice("Exact", "PathPrefix", "RegularExpression"), value=TEXT)
ROUTE = an(
    parentRefs=some(PARENT, 32),
    hostnames=some(NAME, 16),
    rules=some(an(matches=some(an(path=PATH)), backendRefs=some(BACKEND, 16)), 16),
)
MONITOR = an(
    "endpoints",
    "selector",
    endpoints=some(an(port=TEXT, path=TEXT, interval=DURATION)),
    selector=an(matchLabels=TEXTS),
)
RULE = an("expr", alert=TEXT, expr=TEXT, labels=TEXTS, annotations=TEXTS, **{"for": DURATION})
RULES = an(groups=some(an("name", name=NAME, interval=DURATION, rules=some(RULE))))

DEFINITIONS = [
    definition("gateway.networking.k8s.io", "HTTPRoute", "v1", ROUTE),
    definition("monitoring.coreos.com", "ServiceMonitor", "v1", MONITOR),
    definition("monitoring.coreos.com", "PrometheusRule", "v1", RULES),
]
