"""All that the manager knows about one device; read and written under the gate only."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Literal

from gpu.entry import Entry, Waiter
from gpu.errors import Draining, ModelNotFound
from gpu.ledger import Ledger
from gpu.plan import latch_at, offload_at, release_at
from gpu.state import (
    IN_TRANSIT,
    Counters,
    Limits,
    ModelSpec,
    ModelState,
    ModelView,
    Snapshot,
)

JobAction = Literal["load", "offload", "release"]


@dataclass(frozen=True)
class Job:
    """A slow step that was decided for an entry in one epoch; stale in any other."""

    entry: Entry
    epoch: int
    action: JobAction
    reason: str = ""


class Books:
    """Entries by id, replaced ones, the loads that wait for memory, and who watches."""

    def __init__(self, clock: Callable[[], float], ledger: Ledger, limits: Limits) -> None:
        self.clock = clock
        self.ledger = ledger
        self.limits = limits
        self.outside_bytes = 0
        self.totals = Counters()
        self.entries: dict[str, Entry] = {}
        self.retired: list[Entry] = []
        self.wanted: list[Entry] = []  # first come, first served
        self.draining = False
        self.watchers: list[threading.Event] = []
        self.timer = threading.Event()  # set when something falls due before `next_wake`
        self.next_wake = -math.inf
        self.beat = clock()
        self._keys = count()

    def add(self, spec: ModelSpec) -> Entry:
        """Open the books for a model."""
        entry = Entry(next(self._keys), spec)
        self.entries[spec.id] = entry
        return entry

    def find(self, model_id: str) -> Entry:
        """The entry of that id; raise `ModelNotFound`, or `Draining` while shutting down."""
        if self.draining:
            raise Draining("The server is shutting down.")
        entry = self.entries.get(model_id)
        if entry is None:
            raise ModelNotFound(f"No model is registered as {model_id!r}.")
        return entry

    def all_entries(self) -> list[Entry]:
        """Registered and replaced models."""
        return [*self.entries.values(), *self.retired]

    def count(self, entry: Entry | None, **added: int) -> None:
        """Add to the device's counters of those names, and to the model's if it was one's."""
        self.totals = self.totals.plus(**added)
        if entry is not None:
            entry.counters = entry.counters.plus(**added)

    def view(self, entry: Entry) -> ModelView:
        """A picture of one entry now."""
        return entry.view(self.clock(), self.ledger.of(entry.key))

    def snapshot(self) -> Snapshot:
        """A picture of everything now."""
        return Snapshot(
            now=self.clock(),
            models=tuple(self.view(entry) for entry in self.all_entries()),
            budget_bytes=self.ledger.budget_bytes,
            ledger_bytes=self.ledger.used_bytes,
            outside_bytes=self.outside_bytes,
            limits=self.limits,
            totals=self.totals,
        )

    def is_crowded(self) -> bool:
        """Whether models may have to be released for host memory's or their number's sake."""
        limits, entries = self.limits, self.entries.values()
        if limits.counted_models is not None:
            n_counted = sum(e.spec.counted and e.model is not None for e in entries)
            if n_counted > limits.counted_models:
                return True
        if limits.host_bytes is None:
            return False
        in_host = (e.need_bytes for e in entries if e.state is ModelState.OFFLOADED)
        return sum(in_host) > limits.host_bytes

    def is_quiet(self) -> bool:
        """Whether nothing is leased, waited for or under way."""
        return not any(
            entry.leases or entry.waiters or entry.state in IN_TRANSIT
            for entry in self.all_entries()
        )

    def next_due(self) -> float:
        """When the next timer falls due; infinite without one."""
        views = [self.view(entry) for entry in self.entries.values()]
        idle = min((min(offload_at(v), release_at(v)) for v in views), default=math.inf)
        now = self.clock()
        latches = [at for v in views if (at := latch_at(v)) > now]  # a due one was looked at
        return min([idle, *latches, *(w.deadline for w in self.all_waiters())])

    def all_waiters(self) -> Iterator[Waiter]:
        """Everybody who waits."""
        for entry in self.all_entries():
            yield from entry.waiters

    def in_turn(self) -> list[Entry]:
        """The loads that wait, in the order in which they are served."""
        now = self.clock()
        return sorted(
            self.wanted,
            key=lambda e: min(w.turn(now)[0] for w in e.waiters) if e.waiters else False,
        )

    def watch(self) -> threading.Event:
        """An event that is set when leases end or a move is done."""
        event = threading.Event()
        self.watchers.append(event)
        return event

    def notify(self) -> None:
        """Wake all watchers; each looks again for itself."""
        for event in self.watchers:
            event.set()
        self.watchers.clear()

    def now_idle(self, entry: Entry) -> None:
        """Wake the reaper if a timer of `entry` may fall due before it would look."""
        self.due_at(entry.idle_since + entry.soonest_timer_s)

    def due_at(self, moment: float) -> None:
        """Wake the reaper if it would sleep beyond `moment`."""
        if moment < self.next_wake:
            self.timer.set()
