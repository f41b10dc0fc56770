"""The CustomResourceDefinition of WorkerPool, made of its models.

Structural, closed against unknown fields, with defaults, bounds and rules, so that the API server
itself refuses what makes no sense, and ``kubectl explain`` teaches the rest.
"""

from typing import Any

from pydantic import BaseModel

from anypod.resources.described import Described, Shape, fields, quantity
from anypod.resources.fields import PERCENT_PATTERN, QUANTITY_PATTERN, Model
from anypod.resources.status import WorkerPoolStatus
from anypod.resources.workerpool import GROUP, KIND, PLURAL, VERSION, WorkerPool, WorkerPoolSpec

Schema = dict[str, Any]

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
_KEYED = {"env": "name", "imagePullSecrets": "name", "lms": "name", "conditions": "type"}
"""Lists whose items are told apart by a field, so that none stands twice and patches merge."""

_NAME_RULES = [
    {
        "rule": "self.metadata.name.size() <= 40",
        "message": "metadata.name must have at most 40 characters: names are made from it",
    },
    {
        "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "message": "metadata.name must be lower case letters, digits and -, with a letter first",
    },
]

_COLUMNS = [
    ("Ready", "integer", ".status.readyReplicas", "Workers that serve", 0),
    ("Desired", "integer", ".spec.replicas", "Workers that are wanted", 0),
    ("Busy", "integer", ".status.busy", "Executors that run something", 0),
    ("Sessions", "integer", ".status.sessions", "Sessions that live on the workers", 0),
    ("State", "string", '.status.conditions[?(@.type=="Ready")].reason', "Of condition Ready", 0),
    (
        "Trouble",
        "string",
        '.status.conditions[?(@.type=="Degraded")].reason',
        "Of condition Degraded",
        1,
    ),
    ("Image", "string", ".spec.image", "The workers' image", 1),
    ("Age", "date", ".metadata.creationTimestamp", "Since it was made", 0),
]


def definition() -> Schema:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            "labels": {"app.kubernetes.io/name": "anypod", "app.kubernetes.io/part-of": "anypod"},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["wp"],
                "categories": ["all", "anypod"],
            },
            "scope": "Namespaced",
            "versions": [_version()],
        },
    }


def _version() -> Schema:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _root()},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": name, "type": type_, "jsonPath": path, "description": text, "priority": wide}
            for name, type_, path, text, wide in _COLUMNS
        ],
    }


def _root() -> Schema:
    return {
        "type": "object",
        "description": _doc(WorkerPool),
        "properties": {
            "apiVersion": {"type": "string", "description": "anypod.dev/v1alpha1."},
            "kind": {"type": "string", "description": "WorkerPool."},
            "metadata": {"type": "object"},
            "spec": {
                **_object(WorkerPoolSpec, "What is wanted of the pool."),
                "default": _defaults(WorkerPoolSpec),
            },
            "status": _object(WorkerPoolStatus, "What is.", defaults=False),
        },
        "x-kubernetes-validations": _NAME_RULES,
    }


def _doc(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _object(model: type[Model], text: str, *, defaults: bool = True) -> Schema:
    described = list(fields(model))
    schema: Schema = {
        "type": "object",
        "description": text or _doc(model),
        "properties": {field.name: _field(field, defaults=defaults) for field in described},
    }
    required = [field.name for field in described if field.required]
    if required:
        schema["required"] = required
    if model.RULES:
        schema["x-kubernetes-validations"] = [
            {"rule": rule.cel, "message": rule.message} for rule in model.RULES
        ]
    return schema


def _field(field: Described, *, defaults: bool) -> Schema:
    schema = _schema(field.shape, field.text, defaults=defaults)
    if field.format:
        schema["format"] = field.format
    if field.name in _KEYED and field.shape.kind == "list":
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = [_KEYED[field.name]]
    elif field.shape.kind == "list":
        schema["x-kubernetes-list-type"] = "atomic"
    if defaults and field.has_default:
        schema["default"] = _default(field)
    return schema


def _default(field: Described) -> Any:
    """Of an object, with the defaults of its fields: rules are tried on a default as it stands."""
    return _defaults(field.shape.type) if field.shape.kind == "object" else field.default


def _defaults(model: type[BaseModel]) -> Schema:
    return {field.name: _default(field) for field in fields(model) if field.has_default}


def _schema(shape: Shape, text: str = "", *, defaults: bool = True) -> Schema:
    if shape.kind == "object":
        return _object(shape.type, text, defaults=defaults)
    described = {"description": text} if text else {}
    if shape.kind == "anything":
        return {"type": "object", **described, "x-kubernetes-preserve-unknown-fields": True}
    if shape.kind in ("quantity", "share"):
        return {**described, **_int_or_string(shape)}
    if shape.kind == "choice":
        return {"type": "string", **described, "enum": list(shape.type)}
    if shape.kind == "plain":
        return {"type": _TYPES[shape.type], **described, **_plain_bounds(shape)}
    assert shape.items is not None
    items = _schema(shape.items, defaults=defaults)
    if shape.kind == "list":
        most = {} if shape.bound("max_length") is None else {"maxItems": shape.bound("max_length")}
        return {"type": "array", **described, **most, "items": items}
    most = {"maxProperties": shape.bound("max_length")}
    return {"type": "object", **described, **most, "additionalProperties": items}


def _plain_bounds(shape: Shape) -> Schema:
    names = {
        "ge": "minimum",
        "gt": "minimum",
        "le": "maximum",
        "pattern": "pattern",
        "min_length": "minLength",
        "max_length": "maxLength",
    }
    found = {names[name]: value for name, value in shape.bounds}
    if shape.bound("gt") is not None:
        found["exclusiveMinimum"] = True
    if shape.type is int:
        found["format"] = "int64"
    return found


def _int_or_string(shape: Shape) -> Schema:
    rules = _quantity_rules(shape) if shape.kind == "quantity" else [_NOT_NEGATIVE]
    return {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
        "pattern": QUANTITY_PATTERN if shape.kind == "quantity" else PERCENT_PATTERN,
        "maxLength": 20,
        "x-kubernetes-validations": rules,
    }


_NOT_NEGATIVE = {
    "rule": "type(self) == int ? self >= 0 : true",
    "message": "must be 0 or more, or a percentage, as 25%",
}


def _quantity_rules(shape: Shape) -> list[Schema]:
    signs = {"ge": (">=", "at least"), "le": ("<=", "at most")}
    return [
        {
            "rule": f"type(self) == int ? self {sign} {value} : "
            f"quantity(self).compareTo(quantity('{quantity(value)}')) {sign} 0",
            "message": f"must be {words} {quantity(value)}",
        }
        for name, value in shape.bounds
        if name in signs
        for sign, words in [signs[name]]
    ]
