"""A web server on loopback that misbehaves as its path says, and counts who came."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from server.addresses import Address, Reach, reach_of
from server.fetch_policy import FetchPolicy

BODY = b"a recording" * 100
BLOCK = b"\0" * 65_536


class Site:
    """What was asked of a server, and where it is; `moved` is what /moved leads to."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.asked: list[str] = []
        self.hosts: list[str] = []
        self.moved = "/file"
        self.sent = 0  # bytes of bodies without end
        self.closing = threading.Event()

    def url(self, path: str, host: str | None = None, scheme: str = "http") -> str:
        return f"{scheme}://{host or self.host}:{self.port}{path}"


@contextmanager
def site(host: str = "127.0.0.1", port: int = 0, pem: Path | None = None) -> Iterator[Site]:
    """A server; with `pem`, a key and its certificate, it speaks TLS."""
    server = ThreadingHTTPServer((host, port), _Handler)
    server.daemon_threads = True
    if pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    where = Site(host, server.server_address[1])
    server.site = where  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield where
    finally:
        where.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site: Site = self.server.site  # type: ignore[attr-defined]
        site.asked.append(self.path)
        site.hosts.append(self.headers["Host"])
        self.close_connection = True
        with suppress(OSError):  # the client has gone
            getattr(self, "do_" + self.path.strip("/").partition("?")[0])(site)

    def do_file(self, site: Site) -> None:
        self._begin(200, **{"Content-Length": str(len(BODY))})
        self.wfile.write(BODY)

    def do_moved(self, site: Site) -> None:
        self._begin(302, Location=site.moved, **{"Content-Length": "0"})

    def do_round(self, site: Site) -> None:
        self._begin(302, Location="/round", **{"Content-Length": "0"})

    def do_gzip(self, site: Site) -> None:
        bomb = gzip.compress(bytes(10_000_000))
        self._begin(200, **{"Content-Encoding": "gzip", "Content-Length": str(len(bomb))})
        self.wfile.write(bomb)

    def do_stated(self, site: Site) -> None:
        self._begin(200, **{"Content-Length": str(10**12)})
        self._repeat(site, BLOCK)

    def do_endless(self, site: Site) -> None:
        self._begin(200)
        self._repeat(site, BLOCK)

    def do_drip(self, site: Site) -> None:
        self._begin(200)
        self._repeat(site, b"x", pause_s=0.01)

    def do_silence(self, site: Site) -> None:
        self._begin(200)
        site.closing.wait(10)

    def do_slow_head(self, site: Site) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self._repeat(site, b"x", pause_s=0.01)

    def do_missing(self, site: Site) -> None:
        self._begin(404, **{"Content-Length": "0"})

    def do_garbage(self, site: Site) -> None:
        self.wfile.write(b"220 mail.example.org ESMTP\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _begin(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def _repeat(self, site: Site, block: bytes, pause_s: float = 0.0) -> None:
        while not site.closing.wait(pause_s):
            self.wfile.write(block)
            site.sent += len(block)


class Names:
    """A look-up that a test fills in: each name's answers, one after the other."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name: list(given) for name, given in answers.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self._answers:
            raise OSError(f"{host} is not known")
        given = self._answers[host]
        return given.pop(0) if len(given) > 1 else given[0]


def policy_for(
    *public: str, resolve: Callable[[str, int], Sequence[str]] | None = None, **options: Any
) -> FetchPolicy:
    """A policy to which the addresses `public` are on the public network, though they are not."""

    def reach(address: Address) -> Reach:
        return "public" if address in {ip_address(text) for text in public} else reach_of(address)

    usual = {"allow_http": True, "max_bytes": 1_000_000, "timeout_s": 10.0, "reach": reach}
    names = {} if resolve is None else {"resolve": resolve}
    return FetchPolicy(**{**usual, **names, **options})
