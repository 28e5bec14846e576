"""How moves end: called with the gate held, by the thread that made the move."""

from __future__ import annotations

from functools import partial

from gpu.books import Books, Job
from gpu.entry import Entry
from gpu.errors import DeviceFull, GpuError, LoadFailed
from gpu.grants import Grants
from gpu.plan import backoff_s
from gpu.settling import Settler
from gpu.state import Model, ModelState


class Endings:
    """Enters the outcome of a move into the books; each ends in a new plan for all who wait."""

    def __init__(self, books: Books, settler: Settler, grants: Grants) -> None:
        self._books = books
        self._settler = settler
        self._grants = grants

    def loaded(self, job: Job, model: Model | None, n_bytes: int) -> None:
        """The model is on its device: lease it to its waiters in this same critical section.

        `model` is None when the one in host memory was restored.
        """
        entry, restored = job.entry, model is None
        if model is not None:
            entry.model = model
        entry.need_bytes = n_bytes
        entry.source = "host" if restored else "disk"
        self._books.count(entry, **{"restores" if restored else "loads": 1})
        self._note_load_time(entry, restored)
        entry.idle_since = self._books.clock()
        if not self._books.ledger.set(entry.key, n_bytes):
            self._make_room_for_surplus(entry)
            return
        entry.move_to(ModelState.READY)
        entry.failures_in_a_row, entry.backoff_until = 0, None
        entry.cause = entry.last_error = None
        self._grants.serve(entry)
        self._settler.settle_after(entry)

    def offloaded(self, job: Job) -> None:
        """The model is in host memory and its bytes are free."""
        entry = job.entry
        self._books.ledger.refund(entry.key)
        entry.latched_for = None
        entry.move_to(ModelState.OFFLOADED)
        self._books.count(entry, offloads=1, evictions=int(job.reason == "evict"))
        self._grants.want(entry)
        self._settler.settle_after(entry)

    def released(self, job: Job, leaked: bool) -> None:
        """The manager's reference is gone."""
        entry = job.entry
        self._books.ledger.refund(entry.key)
        entry.latched_for = None
        entry.move_to(ModelState.UNLOADED)
        self._books.count(entry, releases=1, leak_suspected=int(leaked))
        self._grants.want(entry)
        self._settler.settle_after(entry)

    def failed(self, job: Job, cause: BaseException) -> None:
        """A move failed half-way: drop the model, tell all waiters why, and back off."""
        entry, now = job.entry, self._books.clock()
        self._books.ledger.refund(entry.key)
        entry.model = entry.latched_for = None
        entry.move_to(ModelState.FAILED)
        self._books.count(entry, failures=1)
        entry.failures_in_a_row += 1
        entry.backoff_until = now + backoff_s(entry.failures_in_a_row)
        entry.cause, entry.last_error = cause, f"{type(cause).__name__}: {cause}"
        self._grants.refuse_all(entry, partial(_refusal, job, cause, entry.last_error))
        self._settler.settle_after(entry)

    def _make_room_for_surplus(self, entry: Entry) -> None:
        # Bigger than promised: it waits in host memory for its true size like any other.
        job = self._settler.begin(entry, "offload", "surplus")
        entry.committed = True
        self._settler.start_later(job)

    def _note_load_time(self, entry: Entry, restored: bool) -> None:
        now = self._books.clock()
        seconds = now - entry.load_started
        if restored:
            entry.last_restore_s = seconds
        else:
            entry.last_load_s = seconds
        for waiter in entry.waiters:
            waiter.load_s += now - max(waiter.arrived, entry.load_started)


def _refusal(job: Job, cause: BaseException, text: str) -> GpuError:
    if isinstance(cause, DeviceFull):
        return DeviceFull(cause.message, retry_after_s=cause.retry_after_s)
    message = f"{job.entry.spec.id} could not be {job.action}ed: {text}"
    return LoadFailed(message, cause=cause)
