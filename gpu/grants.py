"""Who gets the model next: hand out leases in order, or send the whole queue away."""

from __future__ import annotations

from collections.abc import Callable

from gpu.books import Books
from gpu.entry import Entry, Waiter
from gpu.errors import GpuError
from gpu.lease import Arrival, Lease
from gpu.plan import latch_at
from gpu.state import ModelState


class Grants:
    """Answers waiters; every method is called with the gate held.

    `give_back` takes an entry and its lease when the lease is released, from any thread.
    """

    def __init__(self, books: Books, give_back: Callable[[tuple[Entry, Lease]], None]) -> None:
        self._books = books
        self._give_back = give_back

    def want(self, entry: Entry) -> None:
        """Queue the entry for a load if somebody waits for one."""
        if entry.wants_device and entry not in self._books.wanted:
            entry.wanted_since = self._books.clock()
            self._books.wanted.append(entry)
            self._books.due_at(latch_at(self._books.view(entry)))

    def unwant(self, entry: Entry) -> None:
        """Take the entry out of the line for a load."""
        self._books.wanted.remove(entry)
        entry.wanted_since = None

    def serve(self, entry: Entry) -> None:
        """Lease a ready model to as many waiters as its concurrency allows, in order."""
        if entry.state is not ModelState.READY or entry.draining or entry.latched_for:
            return
        now = self._books.clock()
        while entry.waiters and len(entry.leases) < entry.spec.concurrency:
            first = min(entry.waiters, key=lambda waiter: waiter.turn(now))
            entry.waiters.remove(first)
            self.grant(first, now)

    def grant(self, waiter: Waiter, now: float) -> None:
        """Lease the model to one waiter."""
        entry = waiter.entry
        arrival = Arrival(waiter.state_at_arrival, now - waiter.arrived, waiter.load_s)
        give_back = self._give_back
        waiter.lease = Lease(
            entry.spec.id,
            (waiter.terms, waiter.token),
            entry.model,
            arrival,
            now,
            lambda lease: give_back((entry, lease)),
        )
        entry.leases.add(waiter.lease)
        if not waiter.terms.passing:
            entry.last_used = now
        waiter.wake()

    def refuse_all(self, entry: Entry, error: Callable[[], GpuError]) -> None:
        """Give every waiter an error of its own: raising one in two threads mixes tracebacks."""
        while entry.waiters:
            waiter = entry.waiters.popleft()
            waiter.error = error()
            waiter.wake()
