"""Work beside the page: one thread for each conversion, and a token for each visitor's Stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Generic, TypeVar

from rvc_core.token import Token

T = TypeVar("T")


class Background(Generic[T]):
    """A function that runs in a thread of its own; it ends even when nobody waits for it."""

    def __init__(self, work: Callable[[], T]) -> None:
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ui-work")
        self._started = time.monotonic()
        self._future: Future[T] = executor.submit(work)
        executor.shutdown(wait=False)

    def ticks(self, every_s: float) -> Iterator[float]:
        """Give the seconds since the start, every `every_s`, until the work has ended."""
        while not wait([self._future], timeout=every_s).done:
            yield self.elapsed_s

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def error(self) -> BaseException | None:
        """What the finished work raised."""
        return self._future.exception()

    def result(self) -> T:
        """What the finished work returned; raises what it raised."""
        return self._future.result()


class Visitors:
    """The token of the conversion that each visitor has running."""

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}
        self._lock = threading.Lock()

    @contextmanager
    def running(self, visitor: str, timeout_s: float) -> Iterator[Token]:
        """A token for the time of the block; the end of the block cancels what still uses it."""
        token = Token(timeout_s)
        with self._lock:
            self._tokens[visitor] = token
        try:
            yield token
        finally:
            token.cancel()
            with self._lock:
                if self._tokens.get(visitor) is token:
                    del self._tokens[visitor]

    def stop(self, visitor: str) -> bool:
        """Cancel what `visitor` has running; False if that is nothing."""
        with self._lock:
            token = self._tokens.get(visitor)
        if token is not None:
            token.cancel()
        return token is not None
