"""Everything that happens under the lock: requests, grants, the start and the end of each move.

Each change ends in `settle`, which plans anew for all who wait: a picture informs, never gates.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gpu.books import Books, Job, JobAction
from gpu.entry import Entry, Waiter
from gpu.errors import (
    Draining,
    InsufficientMemory,
    LoadBackoff,
    LoadFailed,
    ModelNotFound,
)
from gpu.gate import Gate
from gpu.grants import Grants
from gpu.lease import Lease
from gpu.plan import backoff_s, due_action, plan
from gpu.state import Model, ModelSpec, ModelState

BEGINS = {
    "load": ModelState.LOADING,
    "offload": ModelState.OFFLOADING,
    "release": ModelState.RELEASING,
}


class Scheduler:
    """Changes the books; every public method is called with `gate` held."""

    def __init__(self, books: Books, start: Callable[[Job], None]) -> None:
        self.gate = Gate(self._take_back)
        self._grants = Grants(books, self.gate.post)
        self._books = books
        self._start = start

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
        self.settle()

    def unregister(self, model_id: str) -> None:
        """Forget a model as soon as its leases end; those who wait for it get an error."""
        entry = self._books.find(model_id)
        self._retire(entry)
        self._grants.refuse_all(entry, lambda: ModelNotFound(f"{model_id} was removed."))
        self.settle()

    def request(self, model_id: str, holder: str) -> Waiter:
        """Queue for a model; the waiter has its lease already if the model is ready."""
        entry, now = self._books.find(model_id), self._books.clock()
        if entry.state is ModelState.FAILED:
            self._leave_failed(entry, now)
        called_off = self._call_off_offload(entry)
        waiter = Waiter(entry, holder, now, entry.arrival_state)
        if entry.has_room:
            self._grants.grant(waiter, now)
        else:
            entry.waiters.append(waiter)
            self._grants.want(entry)
        if called_off or entry.wants_device:
            self.settle()
        return waiter

    def withdraw(self, waiter: Waiter) -> Lease | None:
        """Take a waiter out of its queue; return the lease if it was granted meanwhile."""
        entry = waiter.entry
        if waiter in entry.waiters:
            entry.waiters.remove(waiter)
            self.settle()
            self._books.now_idle(entry)
            self._books.notify()
        return waiter.lease

    def begin(self, entry: Entry, action: JobAction, reason: str) -> Job:
        """Enter the transit state of `action`; nobody else may move the model until its end."""
        entry.move_to(BEGINS[action])
        return Job(entry, entry.epoch, action, reason)

    def take_due(self) -> list[Job]:
        """Begin the moves whose timers are due."""
        books = self._books
        books.beat = now = books.clock()
        jobs = []
        for entry in list(books.entries.values()):
            action = due_action(books.view(entry), now)
            if action is not None:
                jobs.append(self.begin(entry, action, "idle"))
        return jobs

    def refuse_everyone(self) -> None:
        """Send all waiters away: the manager closes."""
        for entry in self._books.all_entries():
            self._grants.refuse_all(entry, lambda: Draining("The server is shutting down."))

    def retire_everyone(self) -> None:
        """Forget all models; each leaves as soon as its leases end."""
        for entry in list(self._books.entries.values()):
            self._retire(entry)
        self.settle()

    def undrain(self, entry: Entry) -> None:
        """A forced move is done or given up: serve those who came meanwhile."""
        entry.draining -= 1
        self._grants.serve(entry)
        self.settle()
        self._books.now_idle(entry)

    def reset(self, entry: Entry) -> None:
        """Forget a failure: the next request tries again at once."""
        entry.move_to(ModelState.UNLOADED)
        entry.failures_in_a_row, entry.backoff_until = 0, None

    # How moves end: called by the thread that made them.

    def finish_load(self, job: Job, model: Model | None, n_bytes: int) -> None:
        """The model is on its device: lease it to its waiters in this same critical section.

        `model` is None when the one in host memory was restored.
        """
        entry, now, restored = job.entry, self._books.clock(), model is None
        if model is not None:
            entry.model = model
        entry.need_bytes = n_bytes
        entry.count(**{"restores" if restored else "loads": 1})
        self._note_load_time(entry, now, restored)
        if not self._books.ledger.set(entry.key, n_bytes):
            self._make_room_for_surplus(entry)
            return
        entry.move_to(ModelState.READY)
        entry.failures_in_a_row, entry.backoff_until = 0, None
        entry.cause = entry.last_error = None
        entry.idle_since = now
        self._grants.serve(entry)
        self._settle_after(entry)

    def finish_offload(self, job: Job) -> None:
        """The model is in host memory and its bytes are free."""
        entry = job.entry
        self._books.ledger.refund(entry.key)
        entry.move_to(ModelState.OFFLOADED)
        entry.count(offloads=1, evictions=int(job.reason == "evict"))
        self._grants.want(entry)
        self._settle_after(entry)

    def finish_release(self, job: Job, leaked: bool) -> None:
        """The manager's reference is gone."""
        entry = job.entry
        self._books.ledger.refund(entry.key)
        entry.move_to(ModelState.UNLOADED)
        entry.count(releases=1, leak_suspected=int(leaked))
        self._grants.want(entry)
        self._settle_after(entry)

    def fail(self, job: Job, cause: BaseException, text: str) -> None:
        """A move failed half-way: drop the model, tell all waiters why, and back off."""
        entry, now = job.entry, self._books.clock()
        self._books.ledger.refund(entry.key)
        entry.model = None
        entry.move_to(ModelState.FAILED)
        entry.count(failures=1)
        entry.failures_in_a_row += 1
        entry.backoff_until = now + backoff_s(entry.failures_in_a_row)
        entry.cause, entry.last_error = cause, text
        message = f"{entry.spec.id} could not be {job.action}ed: {text}"
        self._grants.refuse_all(entry, lambda: LoadFailed(message, cause=cause))
        self._settle_after(entry)

    def settle(self) -> None:
        """Plan for all who wait, first come first served, and start what can start."""
        self._release_retired()
        may_evict = True
        for entry in list(self._books.wanted):
            if not entry.wants_device:
                self._books.wanted.remove(entry)
                continue
            decision = plan(self._books.snapshot(), entry.key, may_evict)
            if decision.kind == "load":
                self._begin_load(entry)
            elif decision.kind == "reject":
                self._refuse_too_big(entry)
            elif decision.kind == "evict":
                self._evict(decision.victims)
                return  # what is free now belongs to this one; its bytes are on their way
            elif decision.reason == "coming":
                return
            else:
                may_evict = False  # later ones may pass while this one waits for busy models

    # What the steps above are made of.

    def _settle_after(self, entry: Entry) -> None:
        self.settle()
        self._books.now_idle(entry)
        self._books.notify()

    def _take_back(self, returned: tuple[Entry, Lease]) -> None:
        entry, lease = returned
        entry.leases.discard(lease)
        entry.idle_since = entry.last_used = self._books.clock()
        self._grants.serve(entry)
        if entry.leases:
            return
        if entry.retired or self._books.wanted:
            self.settle()
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
        if entry.state is not ModelState.OFFLOADING or entry.committed or entry.draining:
            return False
        entry.move_to(ModelState.READY)
        return True

    def _begin_load(self, entry: Entry) -> None:
        self._books.wanted.remove(entry)
        self._books.ledger.set(entry.key, entry.need_bytes)
        entry.load_started = self._books.clock()
        self._start_later(self.begin(entry, "load", "request"))

    def _start_later(self, job: Job) -> None:
        self.gate.later(partial(self._start, job))

    def _evict(self, keys: tuple[int, ...]) -> None:
        for entry in self._books.all_entries():
            if entry.key in keys:
                self._start_later(self.begin(entry, "offload", "evict"))

    def _refuse_too_big(self, entry: Entry) -> None:
        self._books.wanted.remove(entry)
        message = (
            f"{entry.spec.id} needs {entry.need_bytes} bytes; the budget is "
            f"{self._books.ledger.budget_bytes} bytes, less what pinned models take."
        )
        self._grants.refuse_all(entry, lambda: InsufficientMemory(message))

    def _make_room_for_surplus(self, entry: Entry) -> None:
        # Bigger than promised: it waits in host memory for its true size like any other.
        job = self.begin(entry, "offload", "surplus")
        entry.committed = True
        entry.idle_since = self._books.clock()
        self._start_later(job)

    def _note_load_time(self, entry: Entry, now: float, restored: bool) -> None:
        seconds = now - entry.load_started
        if restored:
            entry.last_restore_s = seconds
        else:
            entry.last_load_s = seconds
        for waiter in entry.waiters:
            waiter.load_s += now - max(waiter.arrived, entry.load_started)

    def _retire(self, entry: Entry) -> None:
        entry.retired = True
        del self._books.entries[entry.spec.id]
        self._books.retired.append(entry)

    def _release_retired(self) -> None:
        for entry in list(self._books.retired):
            if entry.state in (ModelState.UNLOADED, ModelState.FAILED):
                self._books.retired.remove(entry)
            elif not entry.leases and entry.state in (ModelState.READY, ModelState.OFFLOADED):
                self._start_later(self.begin(entry, "release", "replaced"))
