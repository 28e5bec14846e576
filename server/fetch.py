"""Fetching what a stranger's request points to, without being led into the operator's network."""

from __future__ import annotations

import httpx

from rvc_core.token import Token
from server.errors import FetchFailed, FetchTimeout, UploadTooLarge
from server.fetch_policy import FetchPolicy as FetchPolicy
from server.fetch_policy import Watch, check_url, find_addresses, parse_url
from server.guarded_http import guarded_client

MAX_REDIRECTS = 3
BLOCK_BYTES = 1 << 16
PORTS = {"http": 80, "https": 443}
HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "voice-server"}


def check_address(url: str, policy: FetchPolicy) -> None:
    """Raise `AddressRefused` if `policy` forbids `url`, `FetchFailed` if its host has no address.

    The connection checks all of this again, for what it finds then.
    """
    parsed = parse_url(url, policy)
    check_url(parsed, policy)
    watch = Watch(Token(), Token(policy.timeout_s))
    find_addresses(parsed.raw_host.decode(), parsed.port or PORTS[parsed.scheme], policy, watch)


def open_client(policy: FetchPolicy) -> httpx.Client:
    """A client whose every request keeps to `policy`; it follows no redirects and uses no proxy.

    Raises `AddressRefused`, `FetchFailed` and `FetchTimeout` beside what httpx does.
    """
    return guarded_client(policy, lambda: Watch(Token(), Token(policy.timeout_s)))


def fetch_bytes(url: str, policy: FetchPolicy, token: Token) -> bytes:
    """What is at `url`, after at most three redirects; raise what `token` does, too.

    Raises `AddressRefused`, `FetchFailed`, `FetchTimeout`, and `UploadTooLarge` beyond
    `policy.max_bytes`.
    """
    watch = Watch(token, Token(policy.timeout_s))
    target = parse_url(url, policy)
    try:
        with guarded_client(policy, lambda: watch) as client:
            for _ in range(MAX_REDIRECTS + 1):
                with client.stream("GET", target, headers=HEADERS) as answer:
                    if answer.next_request is None:
                        return _read(answer, policy, watch)
                    target = answer.next_request.url
    except httpx.TimeoutException:
        raise FetchTimeout(f"{_shown(target)} did not answer.", param=policy.param) from None
    except (httpx.HTTPError, httpx.InvalidURL):
        raise FetchFailed(f"{_shown(target)} cannot be read.", param=policy.param) from None
    message = f"{_shown(target)} is redirected more than {MAX_REDIRECTS} times."
    raise FetchFailed(message, param=policy.param)


def _read(answer: httpx.Response, policy: FetchPolicy, watch: Watch) -> bytes:
    if answer.status_code != 200:
        message = f"{_shown(answer.url)} answered {answer.status_code}."
        raise FetchFailed(message, param=policy.param)
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        message = f"{_shown(answer.url)} answered in compressed form, which was not asked for."
        raise FetchFailed(message, param=policy.param)
    stated = answer.headers.get("Content-Length", "")
    body = bytearray()
    if not (stated.isdigit() and int(stated) > policy.max_bytes):
        for block in answer.iter_raw(BLOCK_BYTES):
            watch.check()
            body += block
            if len(body) > policy.max_bytes:
                break
        else:
            return bytes(body)
    message = f"{_shown(answer.url)} is larger than {policy.max_bytes} bytes."
    raise UploadTooLarge(message, param=policy.param)


def _shown(url: httpx.URL) -> str:
    """The address without its query, which may hold a signature."""
    return f"{url.scheme}://{url.host}{url.path}"[:200]
