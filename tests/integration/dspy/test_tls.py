"""A provider is spoken to over TLS, and must show a certificate that the pool trusts."""

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.certificates import Authority
from tests.support.anypod_up import anypod_up
from tests.support.lm_server import LmServer, lm_server

from anypod.client import Client, LmFailed


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("tls") / "certificates")
    authority.create()
    authority.issue("server", "/CN=lm", "IP:127.0.0.1")
    return authority


@pytest.fixture(scope="module")
def lm(authority: Authority) -> Iterator[LmServer]:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server = authority.issued("server")
    tls.load_cert_chain(server.certificate, server.key)
    with lm_server(tls=tls) as serving:
        yield serving


def pool(folder: Path, lm: LmServer, **spec: Any) -> Path:
    lms = [{"name": "only", "model": "hosted_vllm/x", "apiBase": lm.url, "retries": 0}]
    kind = {"apiVersion": "anypod.dev/v1alpha1", "kind": "WorkerPool"}
    spec |= {"replicas": 1, "executors": 1, "preload": ["dspy"], "lms": lms}
    file = folder / "pool.yaml"
    file.write_text(yaml.safe_dump({**kind, "metadata": {"name": "default"}, "spec": spec}))
    return file


def test_runs_ask_over_tls(authority: Authority, lm: LmServer, tmp_path: Path) -> None:
    trusted = [{"name": "SSL_CERT_FILE", "value": str(authority.certificate)}]
    manifest = pool(tmp_path, lm, env=trusted)
    with (
        anypod_up(tmp_path, "-f", str(manifest), workers=1) as (url, _),
        Client(url, timeout=60) as client,
        ThreadPoolExecutor(20) as threads,
    ):
        client.programs.put("asks", kind="dspy", signature="question -> answer")
        answers = list(threads.map(lambda _: client.run("asks", {"question": "?"}), range(20)))
    assert [answer.outputs for answer in answers] == [{"answer": "42"}] * 20


def test_whom_it_does_not_know_it_tells_nothing(lm: LmServer, tmp_path: Path) -> None:
    lm.clear()
    with (
        anypod_up(tmp_path, "-f", str(pool(tmp_path, lm)), workers=1) as (url, _),
        Client(url, timeout=60) as client,
    ):
        client.programs.put("asks", kind="dspy", signature="question -> answer")
        with pytest.raises(LmFailed) as caught:
            client.run("asks", {"question": "?"})
    assert caught.value.type == "lm-unavailable"
    assert lm.asked == []
