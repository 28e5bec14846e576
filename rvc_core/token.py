"""Cancellation and deadline of one request, carried through every stage."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rvc_core.errors import Cancelled, DeadlineExceeded


class Token:
    """Says whether the work it travels with is still wanted; any thread may cancel it."""

    def __init__(
        self, timeout_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._deadline = math.inf if timeout_s is None else clock() + timeout_s
        self._timeout_s = timeout_s
        self._cancelled = threading.Event()
        self._cancelled_at: float | None = None

    def cancel(self) -> None:
        """End the work at its next check."""
        if self._cancelled_at is None:
            self._cancelled_at = self._clock()
        self._cancelled.set()

    @property
    def cancelled_for_s(self) -> float:
        """Seconds since `cancel` was first called; 0 if it was not."""
        return 0.0 if self._cancelled_at is None else self._clock() - self._cancelled_at

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    def remaining_s(self) -> float:
        """Seconds until the deadline, not below 0; infinite without one."""
        return max(0.0, self._deadline - self._clock())

    def check(self) -> None:
        """Raise `Cancelled` or `DeadlineExceeded` if the work is no longer wanted."""
        if self.cancelled:
            raise Cancelled("The request was cancelled.")
        if self.remaining_s() <= 0:
            raise DeadlineExceeded(
                f"The request took longer than the {self._timeout_s:g} s allowed.",
                param="timeout_s",
                value=self._timeout_s,
            )

    @contextmanager
    def governing(self) -> Iterator[None]:
        """For the time of the block, `check_current` in this thread checks this token."""
        before = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(before)


# Networks are shared between threads and nested deeply; what they work for is known here.
_CURRENT: ContextVar[Token | None] = ContextVar("token", default=None)


def check_current() -> None:
    """Raise if the work of this thread is no longer wanted; takes a microsecond.

    Long loops, and networks between their layers, call it so that work ends soon.
    """
    token = _CURRENT.get()
    if token is not None:
        token.check()
