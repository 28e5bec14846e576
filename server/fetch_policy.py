"""What the server may fetch for a stranger, and how an address is judged before it connects.

A name is looked up once, every address it has is judged, and the connection goes to one of those
very addresses. Asking again could give another answer, and that is how such checks are passed by.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

import httpx

from rvc_core.token import Token
from server.addresses import Address, Reach, is_disguised, look_up, reach_of
from server.errors import AddressRefused, FetchFailed, FetchTimeout

MAX_URL_CHARACTERS = 4096
SLICE_S = 0.1  # how late a cancellation may be noticed


@dataclass(frozen=True)
class FetchPolicy:
    """Whom the server may turn to, how much it reads and how long it waits.

    `hosts` empty means any; "*.example.org" means all below it. `allow_private` opens private
    and loopback addresses, but never link-local or metadata ones. `timeout_s` is for a whole
    fetch, or for one connection of `open_client`. `param` is the field of the request that holds
    the address, for errors.
    """

    allow_http: bool = False
    allow_private: bool = False
    hosts: tuple[str, ...] = ()
    max_bytes: int = 100 * 2**20
    timeout_s: float = 15.0
    param: str | None = None
    resolve: Callable[[str, int], Sequence[str]] = look_up
    reach: Callable[[Address], Reach] = reach_of


@dataclass(frozen=True)
class Watch:
    """Until when a connection is wanted: by the request, and by the policy."""

    token: Token
    deadline: Token

    def remaining_s(self) -> float:
        """Seconds left; never quite 0, which sockets take for something else."""
        return max(1e-3, min(self.token.remaining_s(), self.deadline.remaining_s()))

    def check(self) -> None:
        """Raise what the token does, or `FetchTimeout`."""
        self.token.check()
        if self.deadline.remaining_s() <= 0:
            raise FetchTimeout("Fetching from the address given took too long.")

    def wait_for(self, look_up: Callable[[], Sequence[str]]) -> Sequence[str] | OSError:
        """What `look_up` returns or raises; the system gives no way to end one early."""
        box: queue.SimpleQueue[Sequence[str] | OSError] = queue.SimpleQueue()

        def work() -> None:
            try:
                box.put(look_up())
            except (OSError, UnicodeError) as error:
                box.put(OSError(str(error)))

        threading.Thread(target=work, name="look-up", daemon=True).start()
        while True:
            try:
                return box.get(timeout=min(SLICE_S, self.remaining_s()))
            except queue.Empty:
                self.check()


def parse_url(url: str, policy: FetchPolicy) -> httpx.URL:
    """Read an address; raise `AddressRefused` if it is none."""
    try:
        if len(url) > MAX_URL_CHARACTERS:
            raise httpx.InvalidURL("too long")
        return httpx.URL(url)
    except httpx.InvalidURL:
        raise AddressRefused(f"{url!r:.80} is no address.", param=policy.param) from None


def check_url(url: httpx.URL, policy: FetchPolicy) -> None:
    """Raise `AddressRefused` for what can be told without a look-up."""
    schemes = ("https", "http") if policy.allow_http else ("https",)
    host = url.raw_host.decode().rstrip(".").lower()
    if url.scheme not in schemes:
        reason = f"begins with {url.scheme!r:.20}; allowed is {' or '.join(schemes)}"
    elif not host:
        reason = "names no host"
    elif url.userinfo:
        reason = "carries a user name"
    elif is_disguised(host):
        reason = "has a number for a host"
    elif policy.hosts and not any(_matches(host, pattern) for pattern in policy.hosts):
        reason = "is on a host that is not on the list of those allowed"
    else:
        return
    raise AddressRefused(f"The address {reason}.", param=policy.param)


def _matches(host: str, pattern: str) -> bool:
    pattern = pattern.lower().rstrip(".")
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def find_addresses(host: str, port: int, policy: FetchPolicy, watch: Watch) -> list[str]:
    """Look `host` up once; raise `AddressRefused` unless all of its addresses may be reached."""
    host = host.rstrip(".")
    found = watch.wait_for(partial(policy.resolve, host, port))
    if isinstance(found, OSError) or not found:
        raise FetchFailed(f"The host {host!r:.80} is not known.", param=policy.param)
    allowed = ("public", "private") if policy.allow_private else ("public",)
    if any(policy.reach(ip_address(address)) not in allowed for address in found):
        # Which address that is stays untold: the answer would map the operator's network.
        message = f"The host {host!r:.80} is not on the public network."
        raise AddressRefused(message, param=policy.param)
    return list(found)
