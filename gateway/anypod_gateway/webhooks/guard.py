"""Which addresses a webhook may call. A gateway stands where callers do not: what they have it call
must not be what only it can reach.

Judged is the address that a socket is about to connect to, whether it stood in the URL or a name
server has just said it: a name that means something else at the next look gets nowhere by that.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_UNICAST = ipaddress.IPv6Network("2000::/3")
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 addresses where the network speaks IPv6 only (NAT64)."""
_TUNNELS = (ipaddress.IPv6Network("2002::/16"), ipaddress.IPv6Network("2001::/32"))
"""6to4 and Teredo: their packets end at an IPv4 address that stands inside."""


class Refused(OSError):
    """Nothing may be sent to that address."""

    def __init__(self) -> None:
        super().__init__("the pool does not allow its address")


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


@dataclass(frozen=True, slots=True)
class Guard:
    allowed: tuple[Network, ...]
    """By the pool, whatever they are."""
    closed: tuple[Network, ...]
    """The cluster's own, though they look public."""
    is_plain: bool
    """Without TLS, which is for networks that the pool names."""

    def check(self, text: str) -> None:
        """Raises Refused."""
        address = _meant(ipaddress.ip_address(text))
        if _within(address, self.allowed):
            return
        if self.is_plain or _within(address, self.closed) or not _is_public(address):
            raise Refused

    def check_host(self, url: str) -> None:
        """What can be said before a name is looked up. Raises Refused."""
        host = (urlsplit(url).hostname or "").partition("%")[0]
        with contextlib.suppress(ValueError):  # a name
            ipaddress.ip_address(host)
            self.check(host)
        if self.is_plain and not self.allowed:
            raise Refused

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """An ``aiohttp.TCPConnector``'s socket_factory. Raises Refused."""
        family, kind, protocol, _, address = info
        self.check(address[0])
        return socket.socket(family, kind, protocol)


def _within(address: Address, among: Iterable[Network]) -> bool:
    return any(address in network for network in among)


def _meant(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    return address in _UNICAST and not _within(address, _TUNNELS)
