"""What happens under the lock: requests, timers, and leases that come back.

Each change ends in `Settler.settle`, which plans anew for all who wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from gpu.books import Books, Job
from gpu.entry import Entry, Waiter
from gpu.errors import (
    Draining,
    LoadBackoff,
    ModelNotFound,
    NotReady,
    WaitExpired,
)
from gpu.gate import Gate
from gpu.grants import Grants
from gpu.lease import Lease
from gpu.plan import due_action
from gpu.settling import Settler
from gpu.state import ModelSpec, ModelState, RequestToken, Terms

logger = logging.getLogger(__name__)


class Scheduler:
    """Changes the books; every public method is called with `gate` held."""

    def __init__(self, books: Books, start: Callable[[Job], None]) -> None:
        self.gate = Gate(self._take_back)
        self.grants = self._grants = Grants(books, self.gate.post)
        self.settler = Settler(books, self.grants, self.gate, start)
        self._books = books

    def register(self, spec: ModelSpec) -> None:
        """Make a model known; one of the same id is replaced as soon as its leases end."""
        books = self._books
        if books.draining:
            raise Draining("The server is shutting down.")
        old = books.entries.get(spec.id)
        if old is not None and old.spec == spec:
            return
        if old is not None:
            self._retire(old)
        entry = books.add(spec)
        if old is not None:
            entry.waiters, old.waiters = old.waiters, entry.waiters
            for waiter in entry.waiters:
                waiter.entry = entry
        self._grants.want(entry)
        self.settler.settle()

    def unregister(self, model_id: str) -> None:
        """Forget a model as soon as its leases end; those who wait for it get an error."""
        entry = self._books.find(model_id)
        self._retire(entry)
        self._grants.refuse_all(entry, lambda: ModelNotFound(f"{model_id} was removed."))
        self.settler.settle()

    def request(self, model_id: str, terms: Terms, token: RequestToken | None) -> Waiter:
        """Queue for a model; the waiter has its lease already if the model is ready."""
        entry, now = self._books.find(model_id), self._books.clock()
        if terms.passing and not entry.has_room:
            raise NotReady(f"{model_id} is not free on its device.")
        if entry.state is ModelState.FAILED:
            self._leave_failed(entry, now)
        called_off = self._call_off_offload(entry)
        waiter = Waiter(entry, terms, token, now)
        if entry.has_room:
            self._grants.grant(waiter, now)
        else:
            entry.waiters.append(waiter)
            self._grants.want(entry)
            self._books.due_at(waiter.deadline)
        if called_off:
            self._grants.serve(entry)  # some may have come while it was latched
        if called_off or entry.wants_device:
            self.settler.settle()
        return waiter

    def withdraw(self, waiter: Waiter) -> Lease | None:
        """Take a waiter out of its queue; return the lease if it was granted meanwhile."""
        entry = waiter.entry
        if waiter in entry.waiters:
            entry.waiters.remove(waiter)
            self.settler.settle()
            self._books.now_idle(entry)
            self._books.notify()
        return waiter.lease

    def set_pinned(self, model_id: str, pinned: bool) -> None:
        """Keep a model from timers and evictions, or no longer."""
        entry = self._books.find(model_id)
        entry.pinned = pinned
        self.settler.settle()
        self._books.now_idle(entry)

    def take_due(self) -> list[Job]:
        """Send those away whose deadline has come; begin the moves whose timers are due."""
        books = self._books
        books.beat = now = books.clock()
        self._expire(now)
        self._end_overdue(now)
        self.settler.settle()  # a load may have waited long enough to latch its victims
        jobs = []
        for entry in list(books.entries.values()):
            action = due_action(books.view(entry), now)
            if action is not None:
                jobs.append(self.settler.begin(entry, action, "idle"))
        return jobs

    def refuse_everyone(self) -> None:
        """Send all waiters away: the manager closes."""
        for entry in self._books.all_entries():
            self._grants.refuse_all(entry, lambda: Draining("The server is shutting down."))

    def retire_everyone(self) -> None:
        """Forget all models; each leaves as soon as its leases end."""
        for entry in list(self._books.entries.values()):
            self._retire(entry)
        self.settler.settle()

    def undrain(self, entry: Entry) -> None:
        """A forced move is done or given up: serve those who came meanwhile."""
        entry.draining -= 1
        self._grants.serve(entry)
        self.settler.settle()
        self._books.now_idle(entry)

    def reset(self, entry: Entry) -> None:
        """Forget a failure: the next request tries again at once."""
        entry.move_to(ModelState.UNLOADED)
        entry.failures_in_a_row, entry.backoff_until = 0, None

    # What the steps above are made of.

    def _expire(self, now: float) -> None:
        for waiter in [w for w in self._books.all_waiters() if w.deadline <= now]:
            waiter.entry.waiters.remove(waiter)
            waited_s = now - waiter.arrived
            waiter.error = WaitExpired(f"{waiter.entry.spec.id} was not free in {waited_s:.1f} s.")
            waiter.wake()
            self._books.notify()

    def _end_overdue(self, now: float) -> None:
        longest_s = self._books.limits.lease_s
        if longest_s is None:
            return
        for entry in self._books.all_entries():
            for lease in entry.leases:
                if not lease.is_overdue and now - lease.granted_at > longest_s:
                    lease.is_overdue = True
                    self._books.count(entry, overdue=1)
                    self.gate.later(partial(_end_request, lease))

    def _take_back(self, returned: tuple[Entry, Lease]) -> None:
        entry, lease = returned
        entry.leases.discard(lease)
        if not lease.terms.passing:
            entry.keep_alive_s = lease.terms.keep_alive_s
            entry.idle_since = entry.last_used = self._books.clock()
        self._grants.serve(entry)
        if entry.leases:
            return
        if entry.retired or self._books.wanted or self._books.is_crowded():
            self.settler.settle()
        self._books.now_idle(entry)
        self._books.notify()

    def _leave_failed(self, entry: Entry, now: float) -> None:
        left_s = (entry.backoff_until or now) - now
        if left_s > 0:
            raise LoadBackoff(
                f"{entry.spec.id} failed to load; next try in {left_s:.1f} s: {entry.last_error}",
                retry_after_s=left_s,
                cause=entry.cause,
            )
        entry.move_to(ModelState.UNLOADED)
        entry.backoff_until = None

    def _call_off_offload(self, entry: Entry) -> bool:
        going = entry.state is ModelState.OFFLOADING and not entry.committed
        if not going or entry.draining or entry.latched_for:
            return False
        entry.move_to(ModelState.READY)
        return True

    def _retire(self, entry: Entry) -> None:
        entry.retired = True
        del self._books.entries[entry.spec.id]
        self._books.retired.append(entry)


def _end_request(lease: Lease) -> None:
    # Its bytes stay until it is given back: nothing is taken from under running work.
    logger.warning("%s has had %s for too long; cancelling it.", lease.holder, lease.model_id)
    if lease.token is not None:
        lease.token.cancel()
