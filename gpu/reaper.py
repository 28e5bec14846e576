"""The one thread that acts when nobody asks: idle timers and the heartbeat."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from gpu.books import Books, Job
from gpu.scheduler import Scheduler

HEARTBEAT_S = 1.0


def nothing() -> None:
    """Do nothing."""


class Reaper:
    """Sleeps until the next timer is due, a lease ends early, or the next heartbeat.

    `on_beat` is called once in each heartbeat; it must not raise.
    """

    def __init__(self, books: Books, scheduler: Scheduler, start: Callable[[Job], None]) -> None:
        self.on_beat: Callable[[], None] = nothing
        self._books = books
        self._scheduler = scheduler
        self._start = start
        self._next_beat = -math.inf
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="gpu-reaper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread and wait for it."""
        self._stopped.set()
        self._books.timer.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _loop(self) -> None:
        books = self._books
        while not self._stopped.is_set():
            books.timer.clear()
            with self._scheduler.gate:
                jobs = self._scheduler.take_due()
                books.next_wake = min(books.next_due(), books.beat + HEARTBEAT_S)
            for job in jobs:
                self._start(job)
            if books.beat >= self._next_beat:
                self._next_beat = books.beat + HEARTBEAT_S
                self.on_beat()
            books.timer.wait(max(0.0, min(books.next_wake - books.clock(), HEARTBEAT_S)))
