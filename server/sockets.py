"""Ports: taken before anything slow happens, so that a port in use is told at once."""

from __future__ import annotations

import socket


class PortInUse(OSError):
    """The address cannot be listened on."""


def bind(host: str, port: int, setting: str) -> socket.socket:
    """A bound TCP socket; port 0 takes any free one. Raise `PortInUse`, naming `setting`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortInUse(f"{host} is no address to listen on: {error.strerror}.") from None
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise PortInUse(
            f"{setting} {port} on {host} cannot be used: {error.strerror}; choose another."
        ) from None
    return bound


def port_of(bound: socket.socket) -> int:
    """The port that a socket is bound to."""
    return int(bound.getsockname()[1])


def url_of(bound: socket.socket) -> str:
    """The address that a person on this machine would open."""
    host = str(bound.getsockname()[0])
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port_of(bound)}" if ":" in host else f"http://{host}:{port_of(bound)}"
