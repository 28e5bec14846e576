from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.addresses import PRIVATE, is_disguised, reach_of


@pytest.mark.parametrize(
    "text",
    ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
    + ["2002:808:808::1"],
)
def test_public_addresses(text: str) -> None:
    assert reach_of(ip_address(text)) == "public"


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1"]
    + ["100.64.0.1", "::1", "fd12::1", "fc00::1"]
    + ["::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a00:1::5", "::ffff:10.0.0.1"],
)
def test_private_addresses(text: str) -> None:
    assert reach_of(ip_address(text)) == "private"


@pytest.mark.parametrize(
    "text",
    ["169.254.169.254", "169.254.1.1", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"]
    + ["0.0.0.0", "0.1.2.3", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"]
    + ["192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1"]
    + ["::", "::7f00:1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001::1", "2001:db8::1"]
    + ["64:ff9b:1::1", "100::1", "2001:10::1", "3fff::1", "4000::1"]
    + ["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "::ffff:0.0.0.0"],
)
def test_addresses_that_no_policy_opens(text: str) -> None:
    assert reach_of(ip_address(text)) == "forbidden"


@given(st.integers(0, 2**32 - 1))
def test_an_address_in_ipv6_clothing_is_what_it_carries(number: int) -> None:
    bare = reach_of(IPv4Address(number))
    for dressed in (
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(0x64FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80),
    ):
        assert reach_of(dressed) == bare


@given(st.ip_addresses())
def test_what_is_public_is_neither_private_nor_local(address: IPv4Address | IPv6Address) -> None:
    if reach_of(address) == "public":
        assert not any(address in network for network in PRIVATE)
        assert not (address.is_loopback or address.is_link_local or address.is_multicast)
        assert not (address.is_unspecified or address.is_reserved and address.version == 4)


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.1", "127.0.1"]
    + ["0X7F.0.0.1", "127.0.0.1.", "256.256.256.256", "example.123"],
)
def test_numbers_for_hosts_are_disguises(host: str) -> None:
    assert is_disguised(host)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "example.org", "1.example.org", "x0x1.org"]
)
def test_names_and_plain_addresses_are_none(host: str) -> None:
    assert not is_disguised(host)
