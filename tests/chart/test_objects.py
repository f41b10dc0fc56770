"""What the chart makes of its values."""

import re
import subprocess
import urllib.request
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter
from tests.support.chart import (
    CHART,
    HelmError,
    Object,
    copy_of_version,
    helm,
    of_kind,
    pick,
    pod_specs,
    rendered,
    rendered_anew,
)
from tests.support.etcd import running_etcd

from anypod.api.problems import TABLE as PROBLEMS
from anypod.resources import names
from anypod.resources.fields import PoolName
from anypod_gateway.metrics import Metrics as GatewayMetrics
from anypod_operator.metrics import Metrics as OperatorMetrics

EXTERNAL = {"etcd.external.endpoints": ["one.example:2379", "two.example:2379"]}
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
OWN = {PREFERRED: []}
READ = {"networkPolicy.metricsFrom": [{"namespaceSelector": {}}]}
SECRETS = ("link-key", "api-keys", "etcd-tls")


def arguments(objects: list[Object], component: str) -> list[str]:
    (container,) = pick(objects, "Deployment", f"rel-anypod-{component}")["spec"]["template"][
        "spec"
    ]["containers"]
    found: list[str] = container["args"]
    return found


def options(objects: list[Object], component: str, name: str) -> list[str]:
    prefix = f"--{name}="
    return [
        each.removeprefix(prefix)
        for each in arguments(objects, component)
        if each.startswith(prefix)
    ]


def mounted(pod: Object) -> set[str]:
    return {
        volume["secret"]["secretName"].removeprefix("rel-anypod-")
        for volume in pod["volumes"]
        if "secret" in volume
    }


# pods


def test_no_container_may_do_more_than_it_must() -> None:
    pods = pod_specs(rendered())
    assert len(pods) == 6
    for name, pod in pods.items():
        assert pod["securityContext"]["runAsUser"] == 65532, name
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            allowed = container["securityContext"]
            assert allowed["readOnlyRootFilesystem"] is True, name
            assert allowed["allowPrivilegeEscalation"] is False, name
            assert allowed["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["requests"], name
            assert container["resources"]["limits"]["memory"], name


def test_a_rollout_leaves_gateways_on_different_nodes() -> None:
    """So each new one is counted with the new ones only; members of etcd are of one quorum."""
    pods = pod_specs(rendered())
    for name, keys in (
        ("Deployment rel-anypod-gateway", ["pod-template-hash"]),
        ("StatefulSet rel-anypod-etcd", None),
    ):
        nodes, zones = spread(pods[name])
        assert [nodes.get("matchLabelKeys"), zones.get("matchLabelKeys")] == [keys, keys]


def test_pods_are_spread_over_nodes_that_have_no_zone() -> None:
    """For which a constraint of zones would turn off every other one of the pod."""
    pods = pod_specs(rendered())
    for name in ("Deployment rel-anypod-gateway", "StatefulSet rel-anypod-etcd"):
        nodes, zones = spread(pods[name])
        assert nodes["topologyKey"] == "kubernetes.io/hostname"
        assert zones["topologyKey"] == "topology.kubernetes.io/zone"


def test_affinity_of_the_user_is_beside_the_spread_over_zones_or_replaces_it() -> None:
    over_zones = {"podAntiAffinity"}
    for given, kept in ({"nodeAffinity": {}}, True), ({"podAntiAffinity": OWN}, False):
        pod = pod_specs(rendered({"gateway.affinity": given}))["Deployment rel-anypod-gateway"]
        assert pod["affinity"].keys() == given.keys() | over_zones
        assert (pod["affinity"]["podAntiAffinity"] != OWN) == kept


def spread(pod: Object) -> tuple[Object, Object]:
    """The constraint over nodes, and the term over zones."""
    (nodes,) = pod["topologySpreadConstraints"]
    (zones,) = pod["affinity"]["podAntiAffinity"][PREFERRED]
    return nodes, zones["podAffinityTerm"]


def test_only_gateway_and_operator_have_a_token() -> None:
    pods = pod_specs(rendered())
    having = {name for name, pod in pods.items() if pod["automountServiceAccountToken"]}
    assert having == {"Deployment rel-anypod-gateway", "Deployment rel-anypod-operator"}
    for account in of_kind(rendered(), "ServiceAccount").values():
        assert account["automountServiceAccountToken"] is False


def test_no_pod_has_a_secret_that_it_does_not_need() -> None:
    pods = pod_specs(rendered())
    assert {name: mounted(pod) for name, pod in pods.items()} == {
        "Deployment rel-anypod-gateway": {"link-key", "api-keys", "etcd-tls"},
        "Deployment rel-anypod-operator": {"link-key"},
        "StatefulSet rel-anypod-etcd": {"etcd-tls"},
        "CronJob rel-anypod-etcd-snapshot": {"etcd-tls"},
        "Job rel-anypod-etcd-snapshot-1": {"etcd-tls"},
        "Pod rel-anypod-test": {"api-keys"},
    }
    files = {
        item["key"]
        for volume in pods["Deployment rel-anypod-gateway"]["volumes"]
        if volume["name"] == "etcd-tls"
        for item in volume["secret"]["items"]
    }
    assert files == {"ca.crt", "gateway.crt", "gateway.key"}


def test_images_come_from_where_values_say() -> None:
    values = {"imageRegistry": "registry.example/mirror/", "workers.image.tag": "v9"}
    objects = rendered({**values, "etcd.image.digest": "sha256:" + "0" * 64})
    images = {
        container["image"]
        for pod in pod_specs(objects).values()
        for container in [*pod["containers"], *pod.get("initContainers", [])]
    }
    assert images == {
        "registry.example/mirror/anypod/anypod:0.1.0",
        "registry.example/mirror/anypod/anypod-etcd@sha256:" + "0" * 64,
    }
    (worker,) = options(objects, "operator", "worker-image")
    assert worker == "registry.example/mirror/anypod/anypod-worker:v9"


def test_the_operator_knows_gateways_and_itself_by_labels_that_their_pods_have() -> None:
    objects = rendered()
    for who in ("gateway", "operator"):
        labels = dict(each.split("=") for each in options(objects, "operator", f"{who}-label"))
        pod = pick(objects, "Deployment", f"rel-anypod-{who}")["spec"]["template"]
        assert labels.items() <= pod["metadata"]["labels"].items()
        assert labels[names.COMPONENT_LABEL] == who != names.WORKER_COMPONENT


# names


MOST = 36
"""Of a full name. One that is cut may end with a dash, which no name may."""
SHORTENED = [
    *("r" * length for length in range(MOST - len("-anypod") - 1, MOST + 2)),
    *("anypod-" + "x" * (length - 7) for length in range(MOST - 2, MOST + 2)),
    *("anypod-" + "x" * (length - 7) + "-y" for length in range(MOST - 2, MOST + 2)),
]


@pytest.mark.parametrize("release", ["a", "anypod", *SHORTENED, "anypod-" + "x" * 46, "r" * 53])
def test_names_are_short_enough_for_what_kubernetes_adds(release: str) -> None:
    objects = rendered({"etcd.members": 3}, release=release, namespace="n" * 63)
    (pool,) = of_kind(objects, "WorkerPool")
    assert TypeAdapter(PoolName).validate_python(pool) in of_kind(objects, "Pod")
    for each in objects:
        name = each["metadata"]["name"]
        limit = {"StatefulSet": 52, "CronJob": 52, "Deployment": 52}.get(each["kind"], 63)
        if not each["kind"].startswith("Cluster") and each["kind"] != "CustomResourceDefinition":
            assert len(name) <= limit, name
        assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name)
        for value in each["metadata"]["labels"].values():
            assert len(value) <= 63


def test_two_releases_of_one_name_share_nothing_but_the_crd() -> None:
    def of_the_cluster(namespace: str) -> set[tuple[str, str]]:
        objects = rendered(namespace=namespace)
        kinds = ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")
        return {
            (each["kind"], each["metadata"]["name"]) for each in objects if each["kind"] in kinds
        }

    shared = of_the_cluster("one") & of_the_cluster("two")
    assert shared == {("CustomResourceDefinition", "workerpools.anypod.dev")}


# the custom resource


def test_the_custom_resource_is_the_one_of_the_models() -> None:
    (made,) = of_kind(rendered(), "CustomResourceDefinition").values()
    written = yaml.safe_load(
        (Path(CHART).parents[1] / "crds/workerpools.anypod.dev.yaml").read_text()
    )
    assert made["spec"] == written["spec"]
    assert made["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    (made,) = of_kind(rendered({"crds.keep": False}), "CustomResourceDefinition").values()
    assert "helm.sh/resource-policy" not in made["metadata"].get("annotations", {})
    assert of_kind(rendered({"crds.enabled": False}), "CustomResourceDefinition") == {}


# secrets


def test_what_is_secret_is_random() -> None:
    one, other = of_kind(rendered(), "Secret"), of_kind(rendered_anew(), "Secret")
    assert set(one) == {f"rel-anypod-{name}" for name in SECRETS}
    for name, secret in one.items():
        assert secret["data"] != other[name]["data"]
    assert len(b64decode(one["rel-anypod-link-key"]["data"]["key"])) == 64
    assert len(b64decode(one["rel-anypod-api-keys"]["data"]["admin"])) == 40


def test_secrets_of_others_are_used_and_not_made() -> None:
    objects = rendered(
        {
            "linkKey.existingSecret": "theirs",
            "authentication.apiKeys.existingSecret": "keys",
            "etcd.tls.existingSecret": "tls",
        }
    )
    assert of_kind(objects, "Secret") == {}
    gateway = pod_specs(objects)["Deployment rel-anypod-gateway"]
    assert mounted(gateway) == {"theirs", "keys", "tls"}


# etcd


def test_members_find_each_other() -> None:
    objects = rendered({"etcd.members": 3})
    etcd = pick(objects, "StatefulSet", "rel-anypod-etcd")
    (container,) = etcd["spec"]["template"]["spec"]["containers"]
    (cluster,) = (each for each in container["command"] if each.startswith("--initial-cluster="))
    domain = "rel-anypod-etcd-members.home.svc"
    assert cluster.removeprefix("--initial-cluster=").split(",") == [
        f"rel-anypod-etcd-{n}=https://rel-anypod-etcd-{n}.{domain}:2380" for n in range(3)
    ]
    assert etcd["spec"]["serviceName"] == "rel-anypod-etcd-members"
    assert "--quota-backend-bytes=2147483648" in container["command"]


def test_a_member_founds_a_cluster_unless_it_is_told_to_join_one() -> None:
    """By what need not be there, so that nothing has to be rolled out for it."""
    etcd = pick(rendered({"etcd.members": 3}), "StatefulSet", "rel-anypod-etcd")
    (container,) = etcd["spec"]["template"]["spec"]["containers"]
    assert not any("--initial-cluster-state" in each for each in container["command"])
    (state,) = (e for e in container["env"] if e["name"] == "ETCD_INITIAL_CLUSTER_STATE")
    said_by = {"name": "rel-anypod-etcd-joins", "key": "state", "optional": True}
    assert state["valueFrom"] == {"configMapKeyRef": said_by}


@pytest.mark.parametrize("lasting", [True, False])
def test_an_upgrade_to_another_version_restarts_no_etcd(lasting: bool, tmp_path: Path) -> None:
    """Which without a volume would lose everything, and with one be away for a while."""
    values = {"etcd.persistence.enabled": lasting, "etcd.podLabels": {"team": "red"}}
    other = copy_of_version("0.9.9", tmp_path)
    before, after = (
        pick(rendered(values, chart=chart), "StatefulSet", "rel-anypod-etcd")
        for chart in (CHART, other)
    )
    assert before["metadata"]["labels"] != after["metadata"]["labels"]
    assert before["spec"] == after["spec"]
    selected_by = before["spec"]["selector"]["matchLabels"]
    assert before["spec"]["template"]["metadata"]["labels"] == {**selected_by, "team": "red"}


def test_pods_of_snapshots_have_no_label_of_a_version() -> None:
    objects = rendered({"etcd.podLabels": {"team": "red"}})
    cron = pick(objects, "CronJob", "rel-anypod-etcd-snapshot")
    labels = cron["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    policy = pick(objects, "NetworkPolicy", "rel-anypod-etcd-snapshot")
    assert labels == {**policy["spec"]["podSelector"]["matchLabels"], "team": "red"}


@pytest.mark.parametrize("members", [1, 3])
def test_all_members_have_the_name_that_gateways_call_etcd(members: int) -> None:
    """Whichever member the Service leads to, its certificate is for it."""
    objects = rendered({"etcd.members": members})
    (store,) = options(objects, "gateway", "store")
    host = store.removeprefix("etcd://").partition(":")[0]
    assert names_in(pick(objects, "Secret", "rel-anypod-etcd-tls")["data"]["server.crt"]) == {
        host,
        "localhost",
        "127.0.0.1",
        *(f"rel-anypod-etcd-{number}.rel-anypod-etcd-members.home.svc" for number in range(3)),
    }
    assert host == "rel-anypod-etcd.home.svc"


def names_in(certificate: str) -> set[str]:
    told = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName"],
        input=b64decode(certificate),
        capture_output=True,
        timeout=30,
        check=True,
    ).stdout.decode()
    return {each.partition(":")[2].strip() for each in told.splitlines()[1].split(",")}


@pytest.mark.parametrize(("keep", "policy"), [(False, "Delete"), (True, "Retain")])
def test_data_goes_with_the_release_unless_it_is_to_stay(keep: bool, policy: str) -> None:
    objects = rendered({"etcd.persistence.keep": keep})
    spec = pick(objects, "StatefulSet", "rel-anypod-etcd")["spec"]
    assert spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == policy
    claim = pick(objects, "PersistentVolumeClaim", "rel-anypod-etcd-snapshots")
    kept = claim["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
    assert kept == ("keep" if keep else None)


def test_without_persistence_snapshots_need_a_volume() -> None:
    off = {"etcd.persistence.enabled": False}
    assert of_kind(rendered(off), "CronJob") == {}
    assert of_kind(rendered(off), "PersistentVolumeClaim") == {}
    volume = {"nfs": {"server": "files.example", "path": "/snapshots"}}
    pod = pod_specs(rendered({**off, "etcd.snapshots.volume": volume}))[
        "CronJob rel-anypod-etcd-snapshot"
    ]
    assert {"name": "snapshots", **volume} in pod["volumes"]


def test_with_an_etcd_of_others_none_is_installed() -> None:
    objects = rendered(
        {
            **EXTERNAL,
            "etcd.external.tlsSecret": "their-tls",
            "etcd.external.clientCertificate": True,
            "etcd.external.userSecret": "their-user",
        }
    )
    assert [each for each in objects if "etcd" in each["metadata"]["name"]] == []
    assert options(objects, "gateway", "store") == ["etcd://one.example:2379,two.example:2379"]
    assert options(objects, "gateway", "etcd-cert") == ["/etc/anypod/etcd/tls.crt"]
    assert options(objects, "gateway", "etcd-user") == ["$(ETCD_USER)"]
    gateway = pod_specs(objects)["Deployment rel-anypod-gateway"]
    assert mounted(gateway) == {"link-key", "api-keys", "their-tls", "their-user"}


def test_an_etcd_of_others_may_be_without_tls() -> None:
    objects = rendered(EXTERNAL)
    assert [each for each in arguments(objects, "gateway") if each.startswith("--etcd")] == []
    assert mounted(pod_specs(objects)["Deployment rel-anypod-gateway"]) == {"link-key", "api-keys"}


# who reaches what


def reachers(objects: list[Object], component: str, port: str) -> set[str] | None:
    """Components that reach a port of another; None: everybody."""
    policy = pick(objects, "NetworkPolicy", f"rel-anypod-{component}")["spec"]
    assert "Ingress" in policy["policyTypes"]
    found: set[str] = set()
    for rule in policy["ingress"]:
        if port in {each["port"] for each in rule["ports"]}:
            if "from" not in rule:
                return None
            found |= {
                peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
                for peer in rule["from"]
                if set(peer) == {"podSelector"}
            }
    return found


def test_only_gateways_and_snapshots_reach_etcd() -> None:
    objects = rendered()
    assert reachers(objects, "etcd", "client") == {"gateway", "etcd-snapshot"}
    assert reachers(objects, "etcd", "peer") == {"etcd"}
    assert reachers(objects, "etcd", "metrics") == set()
    assert reachers(objects, "operator", "metrics") == set()
    assert reachers(objects, "gateway", "http") is None


def test_who_may_call_gateways_can_be_said() -> None:
    team = {"namespaceSelector": {"matchLabels": {"team": "red"}}}
    objects = rendered({"networkPolicy.gatewayFrom": [team]})
    policy = pick(objects, "NetworkPolicy", "rel-anypod-gateway")["spec"]
    (rule,) = policy["ingress"]
    assert team in rule["from"]
    assert reachers(objects, "gateway", "http") == {"test"}


def test_what_gateways_reach_is_everything_unless_it_is_said() -> None:
    policy = pick(rendered(), "NetworkPolicy", "rel-anypod-gateway")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    to = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    policy = pick(rendered({"networkPolicy.gatewayTo": to}), "NetworkPolicy", "rel-anypod-gateway")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["egress"] == [{"to": to}]


# what is made only when it is asked for


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ({}, set()),
        ({"gateway.autoscaling.enabled": True}, {"HorizontalPodAutoscaler"}),
        ({"gateway.ingress.enabled": True, "gateway.ingress.hosts": ["a.example"]}, {"Ingress"}),
        (
            {"gateway.httpRoute.enabled": True, "gateway.httpRoute.parentRefs": [{"name": "web"}]},
            {"HTTPRoute"},
        ),
        ({"monitoring.serviceMonitor.enabled": True, **READ}, {"ServiceMonitor"}),
        ({"monitoring.prometheusRule.enabled": True, **READ}, {"PrometheusRule"}),
    ],
)
def test_what_is_optional_is_not_there_by_default(values: dict[str, Any], kinds: set[str]) -> None:
    before = {each["kind"] for each in rendered()}
    assert {each["kind"] for each in rendered(values)} - before == kinds


@pytest.mark.parametrize(
    ("values", "gone"),
    [
        ({"networkPolicy.enabled": False}, {"NetworkPolicy"}),
        ({"test.enabled": False}, {"Pod", "WorkerPool"}),
    ],
)
def test_what_is_there_by_default_can_be_left_out(values: dict[str, Any], gone: set[str]) -> None:
    assert {each["kind"] for each in rendered()} - {each["kind"] for each in rendered(values)} == (
        gone
    )


def test_from_outside_only_the_api_is_reached() -> None:
    """Metrics, for one, are for the cluster."""
    objects = rendered(
        {
            "gateway.ingress.enabled": True,
            "gateway.ingress.hosts": ["a.example", "b.example"],
            "gateway.httpRoute.enabled": True,
            "gateway.httpRoute.parentRefs": [{"name": "web"}],
        }
    )
    rules = pick(objects, "Ingress", "rel-anypod-gateway")["spec"]["rules"]
    assert [rule["host"] for rule in rules] == ["a.example", "b.example"]
    for rule in rules:
        (path,) = rule["http"]["paths"]
        assert (path["path"], path["pathType"]) == ("/v1", "Prefix")
    (rule,) = pick(objects, "HTTPRoute", "rel-anypod-gateway")["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/v1"}}]


def test_an_autoscaler_is_not_overruled_by_the_next_upgrade() -> None:
    objects = rendered({"gateway.autoscaling.enabled": True})
    assert "replicas" not in pick(objects, "Deployment", "rel-anypod-gateway")["spec"]
    assert pick(objects, "Deployment", "rel-anypod-operator")["spec"]["replicas"] == 1


def test_what_nodes_pull_for_the_chart_they_can_log_in_for() -> None:
    login = [{"name": "login"}]
    objects = rendered({"imagePullSecrets": login})
    assert all(pod.get("imagePullSecrets") == login for pod in pod_specs(objects).values())
    assert pick(objects, "WorkerPool", "rel-anypod-test")["spec"]["imagePullSecrets"] == login


def test_monitors_find_services_that_are_there() -> None:
    objects = rendered({"monitoring.serviceMonitor.enabled": True, **READ})
    monitors = of_kind(objects, "ServiceMonitor")
    assert set(monitors) == {f"rel-anypod-{who}" for who in ("gateway", "operator", "etcd-members")}
    for monitor in monitors.values():
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (service,) = (
            each
            for each in of_kind(objects, "Service").values()
            if wanted.items() <= each["metadata"]["labels"].items()
        )
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


@pytest.mark.parametrize("what", ["serviceMonitor", "prometheusRule"])
def test_monitoring_is_refused_where_nobody_may_read_metrics(what: str) -> None:
    """Targets would be dead, and the operator would be told away."""
    values = {f"monitoring.{what}.enabled": True}
    with pytest.raises(HelmError, match=r"networkPolicy\.metricsFrom: .* name Prometheus' pods"):
        rendered(values)
    assert rendered({**values, **READ}) != []
    assert rendered({**values, "networkPolicy.enabled": False}) != []


LAST_DUE = "kube_cronjob_status_last_schedule_time"
LAST_DONE = "kube_cronjob_status_last_successful_time"
OF_KUBE_STATE_METRICS = [
    f'{name}{{namespace="ns",cronjob="rel-anypod-etcd-snapshot"}} 1'
    for name in (LAST_DUE, LAST_DONE)
]


def test_alerts_are_about_metrics_that_there_are(tmp_path: Path) -> None:
    """And about labels, each with a value that it can have."""
    objects = rendered({"monitoring.prometheusRule.enabled": True, **READ})
    (group,) = pick(objects, "PrometheusRule", "rel-anypod")["spec"]["groups"]
    asked = {
        name: re.findall(r'\b(?!namespace)[a-z]+="[^"]*"', labels)
        for rule in group["rules"]
        for name, labels in re.findall(r"\b([a-z_]+)\{([^}]*)\}", rule["expr"])
    }
    gateway, operator = GatewayMetrics(), OperatorMetrics()
    for problem in PROBLEMS:
        gateway.request("run", "default", problem, 1.0)
    gateway.store_call("get", 1.0, answered=False)
    shown = gateway.expose().decode() + operator.text().decode()
    lines = [*shown.splitlines(), *metrics_of_etcd(tmp_path), *OF_KUBE_STATE_METRICS]
    for name, labels in asked.items():
        found = [line for line in lines if re.match(rf"(# TYPE )?{name}[ {{]", line)]
        assert any(all(label in line for label in labels) for line in found), (name, labels)
    assert len(asked) == 9
    (cronjob,) = of_kind(objects, "CronJob")
    assert asked[LAST_DUE] == asked[LAST_DONE] == [f'cronjob="{cronjob}"']


def test_who_is_told_away_shows_what_it_is_missed_by_from_its_start() -> None:
    """For as long as nobody calls, too."""
    objects = rendered({"monitoring.prometheusRule.enabled": True, **READ})
    (group,) = pick(objects, "PrometheusRule", "rel-anypod")["spec"]["groups"]
    missed = {
        rule["alert"]: name
        for rule in group["rules"]
        for name in re.findall(r"^absent\(([a-z_]+)\{", rule["expr"])
    }
    shown = {
        "AnyPodGatewayAway": GatewayMetrics().expose().decode(),
        "AnyPodOperatorAway": OperatorMetrics().text().decode(),
    }
    assert missed.keys() == shown.keys()
    for alert, name in missed.items():
        assert re.search(rf"^{name}[ {{]", shown[alert], re.MULTILINE), alert


def metrics_of_etcd(directory: Path) -> list[str]:
    with running_etcd(directory) as etcd:
        url = f"http://{etcd.endpoint}/metrics"
        return urllib.request.urlopen(url, timeout=30).read().decode().splitlines()


# what helm is told


def test_off_is_said_aloud() -> None:
    objects = rendered({"authentication.enabled": False})
    assert "--no-authentication" in arguments(objects, "gateway")
    assert "rel-anypod-api-keys" not in of_kind(objects, "Secret")


def test_old_clusters_are_refused() -> None:
    with pytest.raises(HelmError, match=r"1\.31"):
        helm("template", "rel", str(CHART), "--kube-version=1.30.9")
