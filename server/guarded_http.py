"""HTTP connections that go only where a policy lets them, and end when nobody waits for them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from rvc_core.token import Token
from server.fetch_policy import SLICE_S, FetchPolicy, Watch, check_url, find_addresses

CONNECT_S = 5.0
N_CONNECTIONS = 64
TIMEOUTS = (httpcore.TimeoutException,)
FAULTS = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol)


def guarded_client(policy: FetchPolicy, begin: Callable[[], Watch]) -> httpx.Client:
    """A client that keeps to `policy`; `begin` gives the watch over each new connection."""
    return httpx.Client(
        transport=_GuardedTransport(policy, begin),
        trust_env=False,  # a proxy would connect in our place, to what nobody has judged
        timeout=None,  # the watch sees to that
        follow_redirects=False,
    )


class _GuardedTransport(httpx.BaseTransport):
    """httpx over httpcore's pool, for the sake of its network backend; no connection is reused."""

    def __init__(self, policy: FetchPolicy, begin: Callable[[], Watch]) -> None:
        self._policy = policy
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=N_CONNECTIONS,
            max_keepalive_connections=0,
            network_backend=_GuardedBackend(policy, begin),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        check_url(request.url, self._policy)
        assert isinstance(request.stream, httpx.SyncByteStream)
        sent = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx(request):
            answer = self._pool.handle_request(sent)
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer, request),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    """The body of an answer, as it comes."""

    def __init__(self, answer: httpcore.Response, request: httpx.Request) -> None:
        self._answer = answer
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx(self._request):
            yield from self._answer.iter_stream()

    def close(self) -> None:
        """Give the connection back."""
        self._answer.close()


@contextmanager
def _as_httpx(request: httpx.Request) -> Iterator[None]:
    """Raise httpcore's errors as those of httpx, which callers know."""
    try:
        yield
    except TIMEOUTS as error:
        raise httpx.TimeoutException(str(error), request=request) from None
    except FAULTS as error:
        raise httpx.TransportError(str(error), request=request) from None


class _GuardedBackend(httpcore.NetworkBackend):
    """Connects to addresses that were judged; httpcore keeps the name for TLS and `Host`."""

    def __init__(self, policy: FetchPolicy, begin: Callable[[], Watch]) -> None:
        self._policy = policy
        self._begin = begin
        self._tcp = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of `host` that answers."""
        watch = self._begin()
        error: Exception = httpcore.ConnectError("There is no address.")
        for address in find_addresses(host, port, self._policy, watch):
            watch.check()
            patience_s = min(timeout or CONNECT_S, CONNECT_S, watch.remaining_s())
            try:
                inner = self._tcp.connect_tcp(
                    address, port, patience_s, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
            else:
                return _GuardedStream(inner, watch)
        raise error


class _GuardedStream(httpcore.NetworkStream):
    """Ends with its watch, however slowly the other side drips."""

    def __init__(self, inner: httpcore.NetworkStream, watch: Watch) -> None:
        self._inner = inner
        self._watch = watch

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what comes, within `timeout`."""
        patience = Token(timeout)
        while True:
            self._watch.check()
            try:
                return self._inner.read(max_bytes, min(SLICE_S, self._watch.remaining_s()))
            except httpcore.ReadTimeout:
                if patience.remaining_s() <= 0:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of `buffer`."""
        self._watch.check()
        self._inner.write(buffer, min(timeout or CONNECT_S, self._watch.remaining_s()))

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Go on encrypted, with the certificate of the name in the URL."""
        patience_s = min(timeout or CONNECT_S, self._watch.remaining_s())
        inner = self._inner.start_tls(ssl_context, server_hostname, patience_s)
        return _GuardedStream(inner, self._watch)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks about the socket."""
        return self._inner.get_extra_info(info)
