"""An admission to play with: lanes and a clock that a test moves, and requests in threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from rvc_core.errors import Cancelled, DeadlineExceeded
from rvc_core.token import Token
from server.admission import Admission, LaneFacts
from server.errors import Draining, QueueFull
from server.placement import Priority
from tests.gpu.fakes import FakeClock, in_thread, until

PATIENCE_S = 10.0


class House:
    """An admission, lanes that do what the test says, and requests in threads of their own."""

    def __init__(self, *slots: int, **options: int) -> None:
        self.clock = FakeClock()
        self.lanes = [LaneFacts(n) for n in slots]
        self.admission = Admission(lambda: list(self.lanes), clock=self.clock, **options)

    def set_lane(self, index: int, is_up: bool | None = None, **states: str) -> None:
        """Change a lane and tell."""
        old = self.lanes[index]
        self.lanes[index] = replace(old, is_up=old.is_up if is_up is None else is_up, states=states)
        self.admission.replan()

    @contextmanager
    def guest(
        self, key: str = "v", priority: Priority = Priority.INTERACTIVE, token: Token | None = None
    ) -> Iterator[Guest]:
        """A request, in line or running when the block begins; gone when it ends."""
        n_before = self.admission.n_in_line
        guest = Guest(self.admission, key, priority, token or Token(clock=self.clock))
        until(lambda: guest.is_running or self.admission.n_in_line > n_before or guest.is_gone)
        try:
            yield guest
        finally:
            guest.end()

    def n_running(self) -> list[int]:
        """How many run on each lane."""
        return [counts["running"] for counts in self.admission.counts()]


class Guest:
    """Waits for a place in a thread of its own and keeps it until told to go."""

    def __init__(self, admission: Admission, key: str, priority: Priority, token: Token) -> None:
        self.lane: int | None = None
        self.error: Exception | None = None
        self.token = token
        self._started, self._leave = threading.Event(), threading.Event()
        self._thread = in_thread(partial(self._work, admission, key, priority))

    def _work(self, admission: Admission, key: str, priority: Priority) -> None:
        try:
            with admission.admit(self.token), admission.place(self.token, key, priority) as place:
                self.lane = place.lane
                self._started.set()
                self._leave.wait(PATIENCE_S)
        except (Cancelled, DeadlineExceeded, QueueFull, Draining) as error:
            self.error = error

    @property
    def is_running(self) -> bool:
        return self._started.is_set()

    @property
    def is_gone(self) -> bool:
        return not self._thread.is_alive()

    def has_lane(self) -> int | None:
        """The lane, as soon as it has one."""
        until(self._started.is_set)
        return self.lane

    def ends_with(self) -> Exception | None:
        """What ended it, as soon as it is gone by itself."""
        until(lambda: self.is_gone)
        return self.error

    def end(self) -> None:
        """Leave the lane, or the line."""
        self._leave.set()
        if not self._started.is_set():
            self.token.cancel()
        self._thread.join(PATIENCE_S)


def refusal(admission: Admission) -> QueueFull:
    """What a request too many is told."""
    with pytest.raises(QueueFull) as caught:
        admission.admit(Token()).__enter__()
    return caught.value


def measure(house: House, run_s: float, **loads: float) -> None:
    """Let the admission learn these times by heart."""
    for _ in range(50):
        with house.admission.place(Token(), "v") as place:
            for source, seconds in loads.items():
                place.note_load(seconds, restored=source == "restored")
            house.clock.advance(run_s + sum(loads.values()))
