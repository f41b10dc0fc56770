"""What of a pool's spec concerns only Kubernetes: variables from Secrets, rollouts, network, pods.

Local mode takes a manifest that has them; ``docs/workerpool.md`` says what it makes of each.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from anypod.resources.fields import (
    KeyName,
    LabelKey,
    Labels,
    LabelValue,
    Model,
    ObjectName,
    Rule,
    Share,
    VariableName,
    is_network,
    label_keys,
)

RESERVED_PREFIXES = ("ANYPOD_WORKER_", "ANYPOD_LINK_")
"""Variables by which the operator tells a worker what it is."""


def _exactly_one(*names: str) -> Rule:
    fields = [name if name.islower() else "".join(_snake(name)) for name in names]
    cel = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)
    return Rule(
        f"{cel} == 1",
        lambda model: sum(getattr(model, field) is not None for field in fields) == 1,
        f"must have exactly one of {', '.join(names)}",
    )


def _snake(camel: str) -> str:
    return "".join(f"_{one.lower()}" if one.isupper() else one for one in camel)


class KeyRef(Model):
    """One key of a Secret or ConfigMap in the pool's namespace."""

    name: ObjectName
    """Of the Secret or ConfigMap."""
    key: KeyName
    """Whose value is taken."""
    optional: bool = False
    """A worker starts without the variable if there is no such key; else it does not start."""


class FieldRef(Model):
    """One field of the worker's own pod."""

    field_path: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Such as metadata.name or status.podIP."""
    api_version: Annotated[str, StringConstraints(max_length=63)] = "v1"
    """Of the pod's schema."""


class EnvSource(Model):
    """Where a variable's value comes from."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        _exactly_one("secretKeyRef", "configMapKeyRef", "fieldRef"),
    )

    secret_key_ref: KeyRef | None = None
    """A key of a Secret."""
    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap."""
    field_ref: FieldRef | None = None
    """A field of the worker's pod."""


class EnvVar(Model):
    """One variable."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.valueFrom) || !has(self.value) || self.value == ''",
            lambda variable: variable.value_from is None or not variable.value,
            "must not have both value and valueFrom",
        ),
        Rule(
            "!self.name.startsWith('ANYPOD_WORKER_') && !self.name.startsWith('ANYPOD_LINK_')",
            lambda variable: not variable.name.startswith(RESERVED_PREFIXES),
            "a name must not begin with ANYPOD_WORKER_ or ANYPOD_LINK_, which AnyPod uses itself",
        ),
    )

    name: VariableName
    """Of the variable."""
    value: Annotated[str, StringConstraints(max_length=65_536)] = ""
    """Its value."""
    value_from: EnvSource | None = None
    """Where its value comes from, instead. In local mode: the variable of this name in the
    environment of `anypod up`."""


class ObjectRef(Model):
    """A Secret or ConfigMap in the pool's namespace."""

    name: ObjectName
    """Its name."""
    optional: bool = False
    """A worker starts without it; else it does not start until it is there."""


class EnvFrom(Model):
    """All keys of a Secret or ConfigMap, as variables."""

    RULES: ClassVar[tuple[Rule, ...]] = (_exactly_one("secretRef", "configMapRef"),)

    prefix: Annotated[str, StringConstraints(max_length=200, pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    """Put before each key to make the variable's name."""
    secret_ref: ObjectRef | None = None
    """All keys of a Secret."""
    config_map_ref: ObjectRef | None = None
    """All keys of a ConfigMap."""


class NamedRef(Model):
    """A Secret in the pool's namespace."""

    name: ObjectName
    """Its name."""


def _is_zero(share: int | str) -> bool:
    return share in (0, "0%")


class Rollout(Model):
    """How workers are replaced when what they are made of changes."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!((self.maxUnavailable == 0 || self.maxUnavailable == '0%') && "
            "(self.maxSurge == 0 || self.maxSurge == '0%'))",
            lambda rollout: not (_is_zero(rollout.max_unavailable) and _is_zero(rollout.max_surge)),
            "maxUnavailable and maxSurge must not both be 0: no worker could be replaced",
        ),
    )

    max_unavailable: Share = 0
    """Workers that may be missing meanwhile: a number, or a percentage of replicas."""
    max_surge: Share = "25%"
    """Workers that there may be beyond replicas then: a number, or a percentage of replicas."""
    progress_deadline_seconds: int = Field(600, ge=30, le=86_400)
    """Without progress for so long, a rollout counts as stuck. Nothing is undone by itself."""


class LabelExpression(Model):
    """One condition on labels."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.operator in ['In', 'NotIn']) == (size(self.values) > 0)",
            lambda one: (one.operator in ("In", "NotIn")) == bool(one.values),
            "In and NotIn need values, Exists and DoesNotExist must have none",
        ),
    )

    key: LabelKey
    """The label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How it is compared."""
    values: list[LabelValue] = Field([], max_length=50)
    """With what; empty for Exists and DoesNotExist."""


class Selector(Model):
    """Labels that must fit. An empty selector fits everything."""

    RULES: ClassVar[tuple[Rule, ...]] = (label_keys("matchLabels", "match_labels"),)

    match_labels: Labels = Field({})
    """Labels and their values."""
    match_expressions: list[LabelExpression] = Field([], max_length=50)
    """Conditions, all of which must hold."""


class Port(Model):
    """A port, or a range of ports."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.endPort) || self.endPort >= self.port",
            lambda port: port.end_port is None or port.end_port >= port.port,
            "endPort must not be below port",
        ),
    )

    port: int = Field(ge=1, le=65_535)
    """The port, or the first of the range."""
    end_port: int | None = Field(None, ge=1, le=65_535)
    """The last of the range."""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    """Of the transport."""


class Peer(Model):
    """Somebody that programs may reach, whatever egress says."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.cidr) != (has(self.namespaceSelector) || has(self.podSelector))",
            lambda peer: (
                (peer.cidr is not None)
                != (peer.namespace_selector is not None or peer.pod_selector is not None)
            ),
            "must have either cidr, or podSelector and namespaceSelector or one of them",
        ),
        Rule(
            "!has(self.cidr) || (isCIDR(self.cidr) && cidr(self.cidr) == cidr(self.cidr).masked())",
            lambda peer: peer.cidr is None or is_network(peer.cidr),
            "cidr must be a network, such as 10.1.0.0/16 or 2001:db8::/32",
        ),
    )

    cidr: Annotated[str, StringConstraints(max_length=64)] | None = None
    """A network, such as 10.1.2.0/24."""
    namespace_selector: Selector | None = None
    """Pods in the namespaces that fit; without podSelector, all pods there."""
    pod_selector: Selector | None = None
    """Pods that fit; without namespaceSelector, in the pool's own namespace."""
    ports: list[Port] = Field([], max_length=50)
    """Only on these ports; none given: on all."""


class Network(Model):
    """What workers, and so programs, may reach."""

    egress: Literal["internet", "none", "all"] = "internet"
    """internet: DNS and public addresses, but no private, link-local, metadata or cluster address.
    none: nothing at all. all: everything. It needs a network plugin that heeds NetworkPolicies."""
    peers: list[Peer] = Field([], max_length=50)
    """Who may be reached beside that."""


class PodMetadata(Model):
    """Labels and annotations for the workers' pods."""

    RULES: ClassVar[tuple[Rule, ...]] = (label_keys("labels", "labels"),)

    labels: Labels = Field({})
    """Labels."""
    annotations: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=65_536)]], Field(max_length=64)
    ] = Field({})
    """Annotations."""


class PodTemplate(Model):
    """Fields of the workers' pods, merged under what the operator sets."""

    metadata: PodMetadata = PodMetadata()
    """Labels and annotations for the workers' pods."""
    spec: dict[str, Any] = Field({})
    """Any fields of a pod's spec: nodeSelector, tolerations, volumes, runtimeClassName, sidecars
    as further containers ... The container named "worker" is the worker: give it resources,
    volumeMounts and the like there. What the operator sets itself, it sets over this: image,
    probes, security context and the like."""
