"""The one lock, and two queues around it so that nothing slow or re-entrant happens under it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any


class Gate:
    """A lock for the books: `with gate` to read or write them.

    `post` hands over an item without waiting: the garbage collector may close a forgotten
    response generator, and so return its lease, in a thread that is inside the lock. Whoever
    holds the lock takes the item over; `absorb` gets each item once, under the lock.
    `later` runs a call after the lock is free.
    """

    def __init__(self, absorb: Callable[[Any], None]) -> None:
        self._lock = threading.Lock()
        self._absorb = absorb
        self._posted: deque[Any] = deque()
        self._later: deque[Callable[[], None]] = deque()

    def post(self, item: Any) -> None:
        """Hand `item` to the books, from any thread, even one that holds the lock."""
        self._posted.append(item)
        self._sweep()

    def later(self, call: Callable[[], None]) -> None:
        """Run `call` once the lock is free; only under the lock."""
        self._later.append(call)

    def __enter__(self) -> Gate:
        self._lock.acquire()
        try:
            self._take_posted()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()
        self._run_later()
        self._sweep()

    def _sweep(self) -> None:
        # An item posted while another thread held the lock is seen here by that thread: it looks
        # after it let go. So no item is ever left behind.
        while self._posted and self._lock.acquire(blocking=False):
            try:
                self._take_posted()
            finally:
                self._lock.release()
            self._run_later()

    def _take_posted(self) -> None:
        while self._posted:
            self._absorb(self._posted.popleft())

    def _run_later(self) -> None:
        while self._later:
            try:
                call = self._later.popleft()
            except IndexError:  # another thread was faster
                return
            call()
