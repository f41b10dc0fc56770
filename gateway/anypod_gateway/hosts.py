"""Which names a gateway answers to when only this machine can reach it.

A page in a browser can make its own name point at 127.0.0.1 and then call what listens there as
if it were its own server (DNS rebinding). Such a call carries the page's name in ``Host``.

Any page can also send a plain POST here, unseen and unasked; then ``Origin`` says whose it is.
"""

import ipaddress
from collections.abc import Iterable

_REMEMBERED = 1000


class AnyHost:
    """For a gateway that others can reach anyway."""

    def allows(self, host: str | None) -> bool:
        return True

    def allows_origin(self, origin: str | None) -> bool:
        return True


class LoopbackHosts:
    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}
        self._known: set[str | None] = {None}  # only clients that are no browsers send none

    def allows(self, host: str | None) -> bool:
        if host in self._known:
            return True
        allowed = self._allows(_name(host or ""))
        if allowed and len(self._known) < _REMEMBERED:
            self._known.add(host)
        return allowed

    def allows_origin(self, origin: str | None) -> bool:
        """None: no browser sent it, or it is a page of this gateway's own."""
        return origin is None or self._allows(_name(origin.partition("://")[2]))

    def _allows(self, name: str) -> bool:
        return name in self._names or name.endswith(".localhost") or is_loopback(name)


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """``Host`` without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")
