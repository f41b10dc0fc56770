"""The options that the chart gives are options that gateway and operator take."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.chart import pick, rendered

from anypod_gateway import links, once, server
from anypod_gateway import pool as gateway_pool
from anypod_gateway import settings as gateway
from anypod_gateway.jobs import lease, queue
from anypod_gateway.webhooks import deliveries
from anypod_operator import settings as operator


def arguments(values: dict[str, Any], component: str) -> list[str]:
    deployment = pick(rendered(values), "Deployment", f"rel-anypod-{component}")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    module, *options = container["args"]
    assert module == f"anypod_{component}"
    return options


def test_the_gateway_takes_what_it_is_told() -> None:
    settings = gateway.parse(arguments({"gateway.drainSeconds": 7}, "gateway"))
    assert settings.kubernetes
    assert settings.store == "etcd://rel-anypod-etcd.home.svc:2379"
    assert settings.namespace == "home"
    assert settings.watch_namespaces == ()
    assert settings.listen == ("0.0.0.0", 8700)
    assert settings.authentication
    assert not settings.kubernetes_tokens
    assert settings.api_keys == Path("/etc/anypod/api-keys")
    assert settings.link_token_file == Path("/etc/anypod/link/key")
    assert settings.etcd_ca == Path("/etc/anypod/etcd/ca.crt")
    assert settings.etcd_cert == Path("/etc/anypod/etcd/gateway.crt")
    assert settings.etcd_key == Path("/etc/anypod/etcd/gateway.key")
    assert settings.linger_seconds == 5
    assert settings.drain_seconds == 7
    assert settings.log_format == "json"


def test_a_gateway_is_killed_only_when_all_of_its_parts_have_had_their_time() -> None:
    """What comes last, the state of sessions, would be lost else."""
    parts = (
        server.LAST_BYTES_SECONDS,
        deliveries.CLOSE_SECONDS,
        queue.CLOSE_SECONDS + lease.RENEW_SECONDS,
        gateway_pool.LAST_COMMITS_SECONDS,
        once.LAST_SECONDS,
        links.CLOSE_SECONDS,
        server.CLOSE_SECONDS,
    )
    spec = pick(rendered({}), "Deployment", "rel-anypod-gateway")["spec"]["template"]["spec"]
    told = gateway.parse(arguments({}, "gateway"))
    assert spec["terminationGracePeriodSeconds"] >= (
        told.linger_seconds + told.drain_seconds + sum(parts)
    )


@pytest.mark.parametrize("namespaces", [["red"], ["red", "blue"]])
def test_the_gateway_takes_whatever_can_be_said(namespaces: list[str]) -> None:
    values = {
        "watchNamespaces": namespaces,
        "authentication.kubernetesTokens": True,
        "authentication.tokenAudience": "anypod",
        "etcd.external.endpoints": ["one.example:2379", "two.example:2379"],
        "etcd.external.tlsSecret": "tls",
        "etcd.external.clientCertificate": True,
        "etcd.external.serverName": "etcd.example",
        "etcd.external.userSecret": "user",
        "gateway.extraArgs": ["--body-seconds=5"],
        "gateway.logFormat": "text",
    }
    settings = gateway.parse(arguments(values, "gateway"))
    assert settings.watch_namespaces == tuple(namespaces)
    assert settings.kubernetes_tokens
    assert settings.token_audience == "anypod"
    assert settings.etcd_server_name == "etcd.example"
    assert settings.etcd_password_file == Path("/etc/anypod/etcd-user/password")
    assert settings.body_seconds == 5
    assert settings.log_format == "text"


def test_a_gateway_is_told_of_webhooks_secrets_where_there_are_some() -> None:
    networks = {"workers.clusterNetworks": ["8.8.0.0/16"]}
    settings = gateway.parse(arguments(networks, "gateway"))
    assert (settings.webhook_secrets, settings.cluster_networks) == (None, ())
    values = {"gateway.webhooks.secret": "hooks", **networks}
    settings = gateway.parse(arguments(values, "gateway"))
    assert settings.webhook_secrets == Path("/etc/anypod/webhooks")
    assert settings.cluster_networks == ("8.8.0.0/16",)
    deployment = pick(rendered(values), "Deployment", "rel-anypod-gateway")
    spec = deployment["spec"]["template"]["spec"]
    (volume,) = [each for each in spec["volumes"] if each["name"] == "webhooks"]
    assert volume["secret"]["secretName"] == "hooks"
    (mount,) = [
        each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "webhooks"
    ]
    assert (mount["mountPath"], mount["readOnly"]) == ("/etc/anypod/webhooks", True)


def test_a_gateway_may_be_told_to_ask_nobody() -> None:
    settings = gateway.parse(arguments({"authentication.enabled": False}, "gateway"))
    assert not settings.authentication
    assert settings.api_keys is None


def test_the_operator_takes_what_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("the key")
    given = arguments(
        {
            "watchNamespaces": ["red"],
            "workers.clusterNetworks": ["8.8.0.0/16"],
            "workers.dns.namespace": "openshift-dns",
            "workers.dns.labels": {"a": "b"},
        },
        "operator",
    )
    # The operator reads it at once.
    given = [each.replace("/etc/anypod/link", str(tmp_path)) for each in given]
    settings = operator.parse(given)
    assert settings.worker_image == "anypod/anypod-worker:0.1.0"
    assert settings.link_key == "the key"
    assert settings.home == "home"
    assert settings.namespaces == ("red",)
    assert settings.listen == ("0.0.0.0", 8080)
    assert settings.cluster_networks == ("8.8.0.0/16",)
    assert settings.dns_namespace == "openshift-dns"
    assert settings.dns_labels == {"a": "b"}
    url = settings.pool_url.format(pool="fast.red")
    assert url == "http://rel-anypod-gateway.home.svc/v1/pools/fast.red"
