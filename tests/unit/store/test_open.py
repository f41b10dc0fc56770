"""A store's URL says which driver, and nothing else is guessed."""

import subprocess
import sys

import pytest

from anypod.store.etcd import EtcdStore
from anypod.store.observed import ObservedStore
from anypod.store.open import _driver, _endpoint, open_store
from anypod.store.sqlite import SqliteStore


def test_a_url_names_its_driver() -> None:
    assert isinstance(open_store("sqlite:folder/store.db"), SqliteStore)
    assert isinstance(open_store("sqlite:/folder/store.db"), SqliteStore)
    assert isinstance(open_store("etcd://127.0.0.1:2379,etcd-1.etcd:2379"), EtcdStore)
    assert isinstance(open_store("sqlite:x", lambda *_: None), ObservedStore)


@pytest.mark.parametrize(
    "url", ["", "sqlite:", "sqlite", "/store.db", "http://etcd:2379", "etcd:127.0.0.1:2379"]
)
def test_another_url_is_refused_with_what_to_say(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite:PATH or etcd://HOST:PORT"):
        _driver(url)


@pytest.mark.parametrize(
    "url",
    [
        "etcd://",
        "etcd://,",
        "etcd://a:1,",
        "etcd://a:x",
        "etcd://a:99999",
        "etcd://a:1/path",
        "etcd://user@a:1",
        "etcd://:1",
    ],
)
def test_a_bad_endpoint_is_named(url: str) -> None:
    with pytest.raises(ValueError, match="not an etcd endpoint"):
        _driver(url)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("etcd:2379", "etcd:2379"),
        ("etcd", "etcd:2379"),
        ("10.0.0.1:1/", "10.0.0.1:1"),
        ("[::1]:5", "[::1]:5"),
        ("[::1]", "[::1]:2379"),
    ],
)
def test_a_port_may_be_left_out(text: str, endpoint: str) -> None:
    assert _endpoint(text, "etcd://...") == endpoint


def test_only_the_driver_asked_for_is_imported() -> None:
    code = (
        "import sys; from anypod.store.open import open_store; open_store('sqlite:x');"
        "sys.exit('etcd3aio' in sys.modules or 'grpc' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
