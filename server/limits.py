"""How much each caller may ask for: requests a minute, requests at once, wrong keys a minute."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from limits.storage import MovingWindowSupport, Storage

from server.errors import TooManyAtOnce, Unauthorized
from server.keys import Caller

MINUTE_S = 60.0
WRONG_KEYS = 10  # in a minute from one address, then the address is told to wait
MOST_KEPT = 10_000  # callers or addresses that are remembered, those heard of last
Clock = Callable[[], float]
Factory = Callable[[], "deque[float]"]


class Windows(Storage, MovingWindowSupport):
    """Counts requests in the last seconds, by key; where flask-limiter keeps its counts.

    The storage in memory that the library brings along starts a thread for nearly each request
    and follows the wall clock.
    """

    STORAGE_SCHEME = ["voice-server"]

    def __init__(self, uri: str | None = None, clock: Clock | None = None, **_: object) -> None:
        super().__init__(uri)
        self._clock = clock or monotonic
        self._lock = threading.Lock()
        self._hits: dict[str, deque[float]] = {}

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Note `amount` requests unless that makes more than `limit` in `expiry` seconds."""
        with self._lock:
            hits = self._recent(key, expiry)
            if len(hits) + amount > limit:
                return False
            hits.extend([self._clock()] * amount)
            return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest request of the last `expiry` seconds came, and how many did."""
        with self._lock:
            hits = self._recent(key, expiry)
            return (hits[0] if hits else self._clock(), len(hits))

    def left_s(self, reset_at: float) -> float:
        """Seconds until a moment of this storage's clock."""
        return reset_at - self._clock()

    def reset(self) -> int:
        """Forget everything; return of how many keys."""
        with self._lock:
            n_keys = len(self._hits)
            self._hits.clear()
            return n_keys

    def clear(self, key: str) -> None:
        """Forget one key."""
        with self._lock:
            self._hits.pop(key, None)

    def check(self) -> bool:
        """Memory is always there."""
        return True

    @property
    def base_exceptions(self) -> type[Exception]:
        """What may go wrong in a storage; nothing does in this one."""
        return OSError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Counts in fixed windows are not kept here."""
        raise NotImplementedError

    def get(self, key: str) -> int:
        """Counts in fixed windows are not kept here."""
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        """Counts in fixed windows are not kept here."""
        raise NotImplementedError

    def _recent(self, key: str, expiry: float) -> deque[float]:
        hits, begin = keep_last(self._hits, key, deque), self._clock() - expiry
        while hits and hits[0] <= begin:
            hits.popleft()
        return hits


class AtOnce:
    """Counts the requests that each caller has at hand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_hand: dict[str, int] = {}

    def enter(self, caller: Caller) -> Callable[[], None]:
        """Let one more in and return what to call, once, when it ends; raise `TooManyAtOnce`."""
        most, name = caller.concurrency, caller.name
        if most is None:
            return lambda: None
        with self._lock:
            at_hand = self._at_hand.get(name, 0)
            if at_hand >= most:
                raise TooManyAtOnce(
                    f"{name} has {at_hand} requests at hand; its key allows {most} at once.",
                    retry_after_s=1,
                )
            self._at_hand[name] = at_hand + 1
        return lambda: self._leave(name)

    def _leave(self, name: str) -> None:
        with self._lock:
            self._at_hand[name] -= 1
            if not self._at_hand[name]:
                del self._at_hand[name]


class WrongKeys:
    """Tells whoever tries out keys to wait; a right key from the same address is let in."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or monotonic
        self._lock = threading.Lock()
        self._tries: dict[str, deque[float]] = {}  # by address

    def note(self, address: str) -> None:
        """A wrong key came from `address`; raise `Unauthorized` with a time to
        wait if that was once too often.
        """
        now = self._clock()
        with self._lock:
            tries = keep_last(self._tries, address, lambda: deque(maxlen=WRONG_KEYS))
            oldest = tries[0] if len(tries) == WRONG_KEYS else None
            if oldest is None or now - oldest >= MINUTE_S:
                tries.append(now)
                return
        raise Unauthorized(
            f"{WRONG_KEYS} wrong keys have come from this address within a minute; wait.",
            retry_after_s=whole_seconds(oldest + MINUTE_S - now),
        )


def keep_last(times: dict[str, deque[float]], key: str, new: Factory) -> deque[float]:
    """The entry of `key`, now the last one of `times`; the first leaves when there are too many."""
    entry = times[key] = times.pop(key) if key in times else new()
    if len(times) > MOST_KEPT:
        del times[next(iter(times))]
    return entry


def whole_seconds(seconds: float) -> int:
    """The next whole number of seconds, at least 1: whoever waits so long comes late enough."""
    return max(1, int(-(-seconds // 1)))
