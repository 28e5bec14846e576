"""Who may convert now, who waits, and who is sent away."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rvc_core.token import Token
from server.errors import Draining, QueueFull

POLL_S = 0.05  # how late a waiter may notice that its token was cancelled
SMOOTHING = 0.2
FIRST_GUESS_S = 2.0


class WaitingRoom:
    """Bounds the work at hand: `n_running` at once, `n_waiting` more in line, first come first."""

    def __init__(
        self, n_running: int, n_waiting: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._n_running = n_running
        self._n_waiting = n_waiting
        self._clock = clock
        self._changed = threading.Condition()
        self._tokens: set[Token] = set()  # of all who are inside
        self._line: deque[Token] = deque()
        self._running = 0
        self._service_s = FIRST_GUESS_S
        self._closed = False

    @contextmanager
    def admit(self, token: Token) -> Iterator[None]:
        """Be inside for the time of the block; raise `QueueFull` or `Draining` at the door."""
        with self._changed:
            if self._closed:
                raise Draining("The server is shutting down.", retry_after_s=10)
            if len(self._tokens) >= self._n_running + self._n_waiting:
                raise QueueFull(
                    f"{len(self._tokens)} conversions are at hand already; try again later.",
                    retry_after_s=self._retry_after_s(),
                )
            self._tokens.add(token)
        try:
            yield
        finally:
            with self._changed:
                self._tokens.discard(token)
                self._changed.notify_all()

    @contextmanager
    def slot(self, token: Token) -> Iterator[None]:
        """Wait in line for one of the running places and keep it for the time of the block."""
        self._enter(token)
        started = self._clock()
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._service_s += SMOOTHING * (self._clock() - started - self._service_s)
                self._changed.notify_all()

    def _enter(self, token: Token) -> None:
        with self._changed:
            self._line.append(token)
            try:
                while self._line[0] is not token or self._running >= self._n_running:
                    token.check()
                    self._changed.wait(min(POLL_S, token.remaining_s()))
                self._running += 1
            finally:
                self._line.remove(token)
                self._changed.notify_all()

    def _retry_after_s(self) -> int:
        wait_s = len(self._tokens) * self._service_s / self._n_running
        return min(60, max(1, math.ceil(wait_s)))

    @property
    def n_inside(self) -> int:
        """How many requests are at hand, running or waiting."""
        return len(self._tokens)

    @property
    def n_in_line(self) -> int:
        """How many of them wait for a running place."""
        return len(self._line)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Admit nobody from now on; who is inside stays."""
        with self._changed:
            self._closed = True

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until nobody is inside; False if that takes longer than `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._tokens, timeout_s)

    def cancel_all(self) -> None:
        """Cancel the tokens of all who are inside."""
        with self._changed:
            for token in self._tokens:
                token.cancel()
