"""What a pool is made of, as whole manifests."""

import json
from base64 import b64encode
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.operator_pools import SETTINGS, make_pool

from anypod.resources import link_tokens
from anypod_operator.objects import build
from anypod_operator.objects.layers import BadTemplate, lay_over
from anypod_operator.objects.network_policy import NOT_PUBLIC_4, NOT_PUBLIC_6
from anypod_operator.objects.quantities import is_less
from anypod_operator.settings import Settings

TOKEN = link_tokens.derive("a key", "team", "texts")
LABELS = {
    "app.kubernetes.io/name": "anypod",
    "app.kubernetes.io/managed-by": "anypod-operator",
    "anypod.dev/pool": "texts",
    "app.kubernetes.io/component": "worker",
}
SELECTOR = {"anypod.dev/pool": "texts", "app.kubernetes.io/component": "worker"}
METADATA = {
    "name": "texts-workers",
    "namespace": "team",
    "labels": LABELS,
    "ownerReferences": [
        {
            "apiVersion": "anypod.dev/v1alpha1",
            "kind": "WorkerPool",
            "name": "texts",
            "uid": "u-1",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ],
}


def built(settings: Settings = SETTINGS, **spec: Any) -> dict[str, Any]:
    objects = build(make_pool(**spec), settings)
    return {one["kind"]: one for one in objects}


def pod(**spec: Any) -> Any:
    return built(**spec)["Deployment"]["spec"]["template"]["spec"]


def worker(**spec: Any) -> Any:
    return pod(**spec)["containers"][0]


def test_the_secret_holds_what_gateways_derive_from_the_same_key() -> None:
    assert built()["Secret"] == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": METADATA | {"name": "texts-link"},
        "type": "Opaque",
        "data": {"token": b64encode(TOKEN.encode()).decode()},
    }


def test_another_key_means_other_pods() -> None:
    one, other = (
        built(replace(SETTINGS, link_key=key))["Deployment"]["spec"]["template"]
        for key in ("a", "b")
    )
    assert one["metadata"] != other["metadata"]
    assert one["spec"] == other["spec"]


def test_the_service_and_the_account_and_the_budget() -> None:
    objects = built()
    assert objects["Service"] == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": METADATA,
        "spec": {
            "clusterIP": "None",
            "selector": SELECTOR,
            "ports": [{"name": "link", "port": 8701, "targetPort": "link", "protocol": "TCP"}],
        },
    }
    assert objects["ServiceAccount"] == {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": METADATA,
        "automountServiceAccountToken": False,
    }
    assert objects["PodDisruptionBudget"] == {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": METADATA,
        "spec": {
            "selector": {"matchLabels": SELECTOR},
            "maxUnavailable": "25%",
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def test_the_deployment_of_a_plain_pool() -> None:
    deployment = built(replicas=3)["Deployment"]
    config = deployment["spec"]["template"]["spec"]["containers"][0]["env"][0].pop("value")
    assert json.loads(config)["pool"] == "texts"
    assert deployment == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": METADATA,
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": SELECTOR},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"},
            },
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 3,
            "template": {
                "metadata": {
                    "labels": LABELS,
                    "annotations": {"anypod.dev/link": link_tokens.mark(TOKEN)},
                },
                "spec": POD,
            },
        },
    }


WORKER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"add": [], "drop": ["ALL"]},
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
POD: dict[str, Any] = {
    "automountServiceAccountToken": False,
    "containers": [
        {
            "name": "worker",
            "image": "anypod-worker:1",
            "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
            "env": [
                {"name": "ANYPOD_WORKER_CONFIG"},
                {
                    "name": "ANYPOD_WORKER_NAME",
                    "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
                },
                {
                    "name": "ANYPOD_LINK_TOKEN",
                    "valueFrom": {"secretKeyRef": {"name": "texts-link", "key": "token"}},
                },
            ],
            "ports": [{"name": "link", "containerPort": 8701}],
            "startupProbe": {
                "httpGet": {"path": "/healthz", "port": "link"},
                "periodSeconds": 1,
                "timeoutSeconds": 5,
                "failureThreshold": 120,
            },
            "readinessProbe": {
                "httpGet": {"path": "/readyz", "port": "link"},
                "periodSeconds": 1,
                "timeoutSeconds": 5,
                "failureThreshold": 2,
            },
            "livenessProbe": {
                "httpGet": {"path": "/healthz", "port": "link"},
                "periodSeconds": 10,
                "timeoutSeconds": 5,
                "failureThreshold": 6,
            },
            "securityContext": WORKER_SECURITY,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }
    ],
    "enableServiceLinks": False,
    "hostIPC": False,
    "hostNetwork": False,
    "hostPID": False,
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "serviceAccountName": "texts-workers",
    "shareProcessNamespace": False,
    "terminationGracePeriodSeconds": 45,
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": SELECTOR},
            "matchLabelKeys": ["pod-template-hash"],
        }
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
}


def test_variables_come_before_ours_and_from_where_they_are_said_to() -> None:
    reference = {"secretKeyRef": {"name": "db", "key": "url"}}
    found = worker(
        env=[{"name": "A", "value": "1"}, {"name": "URL", "valueFrom": reference}],
        envFrom=[{"prefix": "S3_", "configMapRef": {"name": "s3", "optional": True}}],
    )
    assert found["env"][:2] == [
        {"name": "A", "value": "1"},
        {
            "name": "URL",
            "valueFrom": {"secretKeyRef": {"name": "db", "key": "url", "optional": False}},
        },
    ]
    assert [one["name"] for one in found["env"][2:]] == [
        "ANYPOD_WORKER_CONFIG",
        "ANYPOD_WORKER_NAME",
        "ANYPOD_LINK_TOKEN",
    ]
    assert found["envFrom"] == [{"prefix": "S3_", "configMapRef": {"name": "s3", "optional": True}}]


def test_the_keys_of_lms_come_by_variables_that_no_program_has() -> None:
    reference = {"name": "provider", "key": "api-key"}
    found = worker(
        lms=[
            {"name": "own", "model": "hosted_vllm/x"},
            {"name": "fast", "model": "openai/x", "apiKey": {"secretKeyRef": reference}},
            {"name": "slow", "model": "openai/y", "apiKey": {"env": "IMAGE_KEY"}},
        ],
        defaultLm="slow",
    )
    assert found["env"][-3:] == [
        {"name": "ANYPOD_LINK_LM_KEY_1", "valueFrom": {"secretKeyRef": reference}},
        {"name": "ANYPOD_WORKER_LM_1", "value": "fast=ANYPOD_LINK_LM_KEY_1"},
        {"name": "ANYPOD_WORKER_LM_2", "value": "slow=IMAGE_KEY"},
    ]
    config = json.loads(found["env"][0]["value"])
    assert [lm["name"] for lm in config["lms"]] == ["slow", "own", "fast"]
    assert "provider" not in found["env"][0]["value"]


def test_a_fraction_of_a_second_of_draining_is_waited_for() -> None:
    assert pod(drainSeconds=0.5)["terminationGracePeriodSeconds"] == 16


def test_the_template_adds_and_lies_under_what_is_ours() -> None:
    template = {
        "metadata": {"labels": {"team": "a", "anypod.dev/pool": "other"}},
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "serviceAccountName": "admin",
            "hostNetwork": True,
            "securityContext": {
                "appArmorProfile": {"type": "Unconfined"},
                "fsGroup": 7,
                "runAsNonRoot": False,
                "seccompProfile": {"type": "Unconfined"},
                "seLinuxOptions": {"type": "spc_t"},
            },
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "models"}],
            "containers": [
                {"name": "side", "image": "side:1"},
                {
                    "name": "worker",
                    "image": "evil:1",
                    "command": ["sh"],
                    "resources": {"limits": {"memory": "2Gi"}},
                    "env": [{"name": "ANYPOD_LINK_TOKEN", "value": "x"}, {"name": "B"}],
                    "volumeMounts": [{"name": "models", "mountPath": "/models"}],
                    "securityContext": {
                        "allowPrivilegeEscalation": True,
                        "appArmorProfile": {"type": "Unconfined"},
                        "capabilities": {"add": ["SYS_ADMIN"]},
                        "privileged": True,
                        "procMount": "Unmasked",
                        "readOnlyRootFilesystem": False,
                        "runAsNonRoot": False,
                        "runAsUser": 7,
                        "seccompProfile": {"type": "Unconfined"},
                        "seLinuxOptions": {"type": "spc_t"},
                        "windowsOptions": {"hostProcess": True},
                    },
                    "livenessProbe": {"exec": {"command": ["true"]}},
                },
            ],
        },
    }
    deployment = built(template=template)["Deployment"]["spec"]["template"]
    found = deployment["spec"]
    assert deployment["metadata"]["labels"] == {**LABELS, "team": "a"}
    assert found["nodeSelector"] == {"disk": "ssd"}
    assert found["serviceAccountName"] == "texts-workers"
    assert found["hostNetwork"] is False
    assert found["securityContext"] == {**POD["securityContext"], "fsGroup": 7}
    assert found["volumes"] == [
        {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": "models"},
    ]
    ours, side = found["containers"]
    assert side == {"name": "side", "image": "side:1"}
    assert ours["image"] == "anypod-worker:1"
    assert ours["resources"] == {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"memory": "2Gi"},
    }
    assert ours["env"][0] == {"name": "B"}
    assert "x" not in [one.get("value") for one in ours["env"]]
    assert [one["mountPath"] for one in ours["volumeMounts"]] == ["/models", "/tmp"]
    assert ours["securityContext"] == {**WORKER_SECURITY, "runAsUser": 7}
    assert "exec" not in ours["livenessProbe"]


@pytest.mark.parametrize(
    ("limits", "requests"),
    [
        ({"memory": "200Mi"}, {"cpu": "100m"}),
        ({"memory": 100_000_000, "cpu": "0.05"}, {}),
        ({"memory": "256Mi", "cpu": 1}, {"cpu": "100m", "memory": "256Mi"}),
        ({"memory": "0.2G", "cpu": "50m", "nvidia.com/gpu": 1}, {}),
        ({"memory": "much"}, {"cpu": "100m", "memory": "256Mi"}),
        ({"memory": "NaN", "cpu": [1]}, {"cpu": "100m", "memory": "256Mi"}),
        ("none", {"cpu": "100m", "memory": "256Mi"}),
    ],
)
def test_nothing_is_requested_beyond_a_limit_of_the_template(limits: Any, requests: Any) -> None:
    given = {"name": "worker", "resources": {"limits": limits}}
    found = worker(template={"spec": {"containers": [{"name": "side"}, given]}})
    assert found["resources"] == {"limits": limits, "requests": requests}


def test_what_the_template_requests_itself_is_left_to_it() -> None:
    resources = {"limits": {"memory": "200Mi"}, "requests": {"memory": "300Mi"}}
    given = {"name": "worker", "resources": resources}
    found = worker(template={"spec": {"containers": [given]}})
    assert found["resources"]["requests"] == {"cpu": "100m", "memory": "300Mi"}


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"containers": "x"}, "spec.template.spec.containers must be a list"),
        ({"containers": [{"image": "x"}]}, "containers[0] must be an object with name"),
        ({"containers": ["x"]}, "containers[0] must be an object with name"),
        (
            {"containers": [{"name": "a"}, {"name": "a"}]},
            "containers[1]: name 'a' stands twice",
        ),
        ({"securityContext": []}, "spec.template.spec.securityContext must be an object"),
        (
            {"containers": [{"name": "worker", "env": {}}]},
            "spec.template.spec.containers[worker].env must be a list",
        ),
    ],
)
def test_a_template_of_another_shape_is_refused_at_its_place(template: Any, said: str) -> None:
    with pytest.raises(BadTemplate) as refused:
        built(template={"spec": template})
    assert said in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "env", "containerPort", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from([*POD, "initContainers", "imagePullSecrets", "nodeSelector", "unknown"])


@given(
    st.dictionaries(FIELDS, JSON, max_size=4),
    st.dictionaries(st.sampled_from(sorted(POD["containers"][0])), JSON, max_size=4),
)
def test_any_template_is_built_from_or_refused(spec: Any, container: Any) -> None:
    """And whatever it is, the worker stays what it is."""
    for template in (spec, {**spec, "containers": [{**container, "name": "worker"}]}):
        try:
            found = pod(template={"spec": template})
        except BadTemplate:
            continue
        ours = next(one for one in found["containers"] if one["name"] == "worker")
        assert ours["securityContext"]["privileged"] is False
        assert ours["image"] == "anypod-worker:1"
        assert found["automountServiceAccountToken"] is False


@pytest.mark.parametrize("less", ["99m", "0.099", ".099", "99e-3", 0, "99999u", "-1", "99000000n"])
def test_quantities_are_compared_as_kubernetes_does(less: Any) -> None:
    assert is_less(less, "100m")
    assert not is_less("100m", less)
    assert not is_less("0.1", "100m")


def test_quantities_of_memory_have_units_of_two_kinds() -> None:
    sizes = [
        "1k",
        "1Ki",
        "1M",
        1024**2 + 1,
        "1e7",
        "1G",
        "1Gi",
        "1T",
        "1Ti",
        "1P",
        "1Pi",
        "1E",
        "1Ei",
    ]
    assert all(is_less(one, other) for one, other in pairwise(sizes))


@pytest.mark.parametrize(
    "none", ["", "much", "1ki", "1 Mi", "1e", "Infinity", "NaN", None, True, []]
)
def test_what_is_no_quantity_is_not_less(none: Any) -> None:
    assert not is_less(none, "100m")
    assert not is_less("100m", none)


def test_nothing_takes_a_field_away() -> None:
    under = {"a": {"b": 1, "c": 2}, "d": 3}
    over = {"a": {"b": None}, "d": None, "e": {"f": None, "g": 4}, "h": None}
    assert lay_over(under, over) == {"a": {"c": 2}, "e": {"g": 4}}


def test_laying_over_changes_neither_layer() -> None:
    under = {"a": {"b": 1}, "env": [{"name": "x"}]}
    over = {"a": {"c": 2}, "env": [{"name": "y"}]}
    assert lay_over(under, over) == {"a": {"b": 1, "c": 2}, "env": [{"name": "x"}, {"name": "y"}]}
    assert under == {"a": {"b": 1}, "env": [{"name": "x"}]}
    assert over == {"a": {"c": 2}, "env": [{"name": "y"}]}


def policy(settings: Settings = SETTINGS, **network: Any) -> Any:
    return built(settings, network=network)["NetworkPolicy"]["spec"]


def test_only_gateways_and_the_operator_reach_workers() -> None:
    (rule,) = policy()["ingress"]
    assert rule["ports"] == [{"port": 8701, "protocol": "TCP"}]
    for peer, component in zip(rule["from"], ("gateway", "operator"), strict=True):
        assert peer == {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "anypod-system"}},
            "podSelector": {
                "matchLabels": {
                    "app.kubernetes.io/name": "anypod",
                    "app.kubernetes.io/component": component,
                }
            },
        }


def test_programs_reach_the_internet_and_nothing_of_the_cluster() -> None:
    settings = Settings(
        worker_image="w",
        link_key="a key",
        cluster_networks=("52.1.0.0/16", "2600:1::/32", "fd00::/8"),
    )
    dns, internet = policy(settings)["egress"]
    (pods,) = dns["to"]
    assert pods == {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    # Of each way one by its number, and one by the name that these pods give it.
    ports = {(port["port"], port["protocol"]) for port in dns["ports"]}
    assert ports == {(53, "UDP"), (53, "TCP"), ("dns", "UDP"), ("dns-tcp", "TCP")}
    four, six = (one["ipBlock"] for one in internet["to"])
    assert four == {"cidr": "0.0.0.0/0", "except": [*NOT_PUBLIC_4, "52.1.0.0/16"]}
    assert six == {"cidr": "2000::/3", "except": [*NOT_PUBLIC_6, "2600:1::/32"]}
    for secret in ("169.254.0.0/16", "10.0.0.0/8", "100.64.0.0/10", "168.63.129.16/32"):
        assert secret in four["except"]


def test_the_dns_may_be_elsewhere() -> None:
    settings = Settings("w", "a key", dns_namespace="openshift-dns", dns_labels={"dns": "default"})
    (pods,) = policy(settings)["egress"][0]["to"]
    assert pods["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "openshift-dns"
    }
    assert pods["podSelector"]["matchLabels"] == {"dns": "default"}


def test_egress_may_be_nothing_or_everything_and_peers_beside() -> None:
    assert policy(egress="none")["egress"] == []
    assert policy(egress="all")["egress"] == [{}]
    assert policy(egress="none")["policyTypes"] == ["Ingress", "Egress"]
    peers = [
        {"cidr": "10.1.0.0/16", "ports": [{"port": 5432}, {"port": 53, "protocol": "UDP"}]},
        {"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": {}},
    ]
    assert policy(egress="none", peers=peers)["egress"] == [
        {
            "to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
            "ports": [{"port": 5432, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
        },
        {"to": [{"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": {}}]},
    ]
