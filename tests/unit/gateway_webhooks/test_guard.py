"""What a gateway can reach and a caller cannot, no webhook reaches."""

import pytest

from anypod_gateway.webhooks.guard import Guard, Refused, networks

PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::5db8:d822", "::ffff:1.1.1.1"]
INSIDE = [
    *("127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::"),
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "fec0::1"),
    *("169.254.169.254", "fe80::1", "fe80::1%2", "fd00:ec2::254"),
    *("224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "192.0.0.1", "198.18.0.1"),
    *("::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::7f00:1"),
    *("2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1", "64:ff9b:1::1"),
]


def guard(*allowed: str, closed: tuple[str, ...] = (), is_plain: bool = False) -> Guard:
    return Guard(networks(allowed), networks(closed), is_plain=is_plain)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_called(address: str) -> None:
    guard().check(address)


@pytest.mark.parametrize("address", INSIDE)
def test_others_are_not(address: str) -> None:
    with pytest.raises(Refused):
        guard().check(address)


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203"])
def test_what_the_pool_allows_is_called_however_it_is_written(address: str) -> None:
    guard("10.1.0.0/16").check(address)
    with pytest.raises(Refused):
        guard("10.2.0.0/16").check(address)


def test_without_tls_only_what_the_pool_allows_is_called() -> None:
    with pytest.raises(Refused):
        guard(is_plain=True).check("1.1.1.1")
    guard("1.1.1.0/24", is_plain=True).check("1.1.1.1")


def test_the_clusters_own_networks_are_not_called_though_they_look_public() -> None:
    with pytest.raises(Refused):
        guard(closed=("1.1.1.0/24",)).check("1.1.1.1")
    guard("1.1.1.1/32", closed=("1.1.1.0/24",)).check("1.1.1.1")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[fe80::1%25lo]", "[::ffff:10.0.0.1]"])
def test_an_address_in_the_url_is_refused_before_anything_is_tried(host: str) -> None:
    with pytest.raises(Refused):
        guard().check_host(f"https://{host}:8443/ended")


def test_a_name_is_judged_when_it_is_looked_up() -> None:
    guard().check_host("https://localhost/ended")
    with pytest.raises(Refused):  # nothing could be called like that
        guard(is_plain=True).check_host("http://example.com/ended")
