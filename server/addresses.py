"""Which addresses on the network the server may turn to when a stranger asks it to."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Reach = Literal["public", "private", "forbidden"]

# Where clouds hand out secrets to whoever asks from inside, next to link-local 169.254.169.254.
METADATA = frozenset(
    ip_address(text) for text in ("100.100.100.200", "168.63.129.16", "fd00:ec2::254")
)
PRIVATE: tuple[Network, ...] = (
    *(IPv4Network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8")),
    IPv4Network("100.64.0.0/10"),  # between a provider and its customers
    *(IPv6Network(n) for n in ("fc00::/7", "::1/128")),
)
# What no request has any business with, whatever a release of Python calls global.
NOT_PUBLIC: tuple[Network, ...] = (
    *(IPv4Network(n) for n in ("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24")),
    *(IPv4Network(n) for n in ("192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24")),
    *(IPv4Network(n) for n in ("203.0.113.0/24", "224.0.0.0/3")),  # multicast and reserved
    *(IPv6Network(n) for n in ("2001::/23", "2001:db8::/32", "3fff::/20")),
)
GLOBAL_V6 = IPv6Network("2000::/3")
SIX_TO_FOUR = IPv6Network("2002::/16")
NAT64 = IPv6Network("64:ff9b::/96")


def reach_of(address: Address) -> Reach:
    """Who can be reached at `address`: anybody, a machine of the operator's, or none we ask.

    An IPv6 address that stands for an IPv4 one is judged as that one.
    """
    address = _carried(address)
    if address in METADATA:
        return "forbidden"
    if any(address in network for network in PRIVATE):
        return "private"
    if any(address in network for network in NOT_PUBLIC) or not address.is_global:
        return "forbidden"
    if isinstance(address, IPv6Address) and address not in GLOBAL_V6:
        return "forbidden"
    return "public"


def is_disguised(host: str) -> bool:
    """Whether `host` is a number that some look-ups take for an address: 2130706433, 0x7f.1."""
    last = host.rstrip(".").rpartition(".")[2].lower()
    if not (last.isdigit() or last.startswith("0x")):
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def look_up(host: str, port: int) -> list[str]:
    """The addresses of `host`, asked of the system; raise `OSError` where there are none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _carried(address: Address) -> Address:
    """The IPv4 address inside of an IPv6 one, if it is of a kind that carries one."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in SIX_TO_FOUR:
        return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
