"""From a store's URL to its driver; only the driver that is asked for is imported."""

from pathlib import Path

from anypod.store.etcd_security import EtcdSecurity
from anypod.store.kv import KeyValue
from anypod.store.observed import ObservedStore, Observer

_ETCD_PORT = 2379


_NOBODY = EtcdSecurity()


def open_store(
    url: str, observe: Observer | None = None, security: EtcdSecurity = _NOBODY
) -> KeyValue:
    """``sqlite:PATH`` or ``etcd://host:port[,host:port]``. Connects at the first call.

    Importing a driver reads files: call it before the loop runs, or in a thread. Raises ValueError
    for another URL, and for security that its driver does not have.
    """
    store = _driver(url, security)
    return ObservedStore(store, observe) if observe is not None else store


def _driver(url: str, security: EtcdSecurity = _NOBODY) -> KeyValue:
    if url.startswith("etcd://"):
        endpoints = [_endpoint(part, url) for part in url.removeprefix("etcd://").split(",")]
        from anypod.store.etcd import EtcdStore

        return EtcdStore(endpoints, security)
    if security.is_given:
        raise ValueError(f"certificates and users are for etcd, not for {url!r}")
    if url.startswith("sqlite:") and (path := url.removeprefix("sqlite:")):
        from anypod.store.sqlite import SqliteStore

        return SqliteStore(Path(path))
    raise ValueError(f"not a store: {url!r}; say sqlite:PATH or etcd://HOST:PORT[,HOST:PORT]")


def _endpoint(text: str, url: str) -> str:
    host, colon, port = text.strip().rstrip("/").rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text.strip().rstrip("/"), str(_ETCD_PORT)
    if not host or "/" in host or "@" in host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"not an etcd endpoint: {text!r} in {url!r}; say etcd://HOST:PORT")
    return f"{host}:{port}"
