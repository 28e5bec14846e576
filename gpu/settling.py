"""Plans for all who wait, and what is begun because of it; under the lock, like the scheduler."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gpu.books import Books, Job, JobAction
from gpu.entry import Entry
from gpu.errors import DeviceFull, InsufficientMemory
from gpu.gate import Gate
from gpu.grants import Grants
from gpu.plan import plan, surplus_models
from gpu.state import ModelState

RETRY_S = 10.0  # for a program that holds the device's memory to let it go
BEGINS = {
    "load": ModelState.LOADING,
    "offload": ModelState.OFFLOADING,
    "release": ModelState.RELEASING,
}


class Settler:
    """Called after each change of the books: a picture informs, never gates."""

    def __init__(
        self, books: Books, grants: Grants, gate: Gate, start: Callable[[Job], None]
    ) -> None:
        self._books = books
        self._grants = grants
        self._gate = gate
        self._start = start

    def settle(self) -> None:
        """Plan for all who wait, in turn, and start what can start."""
        self._release_retired()
        self._unlatch()
        self._plan_loads()
        self._unlatch()  # a load that was refused, or began, needs its victims no longer
        self._release_surplus()

    def settle_after(self, entry: Entry) -> None:
        """Plan anew as `entry` has changed, and tell who watches."""
        self.settle()
        self._books.now_idle(entry)
        self._books.notify()

    def start_later(self, job: Job) -> None:
        """Let the slow half of a move run once the lock is free."""
        self._gate.later(partial(self._start, job))

    def begin(self, entry: Entry, action: JobAction, reason: str) -> Job:
        """Enter the transit state of `action`; nobody else may move the model until its end."""
        entry.move_to(BEGINS[action])
        return Job(entry, entry.epoch, action, reason)

    def _plan_loads(self) -> None:
        may_evict = True
        for entry in self._books.in_turn():
            if not entry.wants_device:
                self._grants.unwant(entry)
                continue
            decision = plan(self._books.snapshot(), entry.key, may_evict)
            if decision.kind == "load":
                self._begin_load(entry)
            elif decision.kind == "reject":
                self._refuse_too_big(entry, decision.reason)
            elif decision.kind == "evict":
                self._evict(decision.victims)
                return  # what is free now belongs to this one; its bytes are on their way
            elif decision.reason == "coming":
                return
            else:
                self._latch(decision.victims, entry)
                may_evict = False  # later ones may pass while this one waits for busy models

    def _latch(self, keys: tuple[int, ...], waiting: Entry) -> None:
        for entry in self._books.all_entries():
            if entry.key in keys:
                entry.latched_for = waiting

    def _unlatch(self) -> None:
        for entry in self._books.all_entries():
            waiting = entry.latched_for
            if waiting is not None and not (waiting.wants_device and waiting in self._books.wanted):
                entry.latched_for = None
                self._grants.serve(entry)

    def _release_surplus(self) -> None:
        if not self._books.is_crowded():
            return
        keys = surplus_models(self._books.snapshot())
        for entry in self._books.all_entries():
            if entry.key in keys:
                self.start_later(self.begin(entry, "release", "surplus"))

    def _begin_load(self, entry: Entry) -> None:
        self._grants.unwant(entry)
        self._books.ledger.set(entry.key, entry.need_bytes)
        entry.load_started = self._books.clock()
        self.start_later(self.begin(entry, "load", "request"))

    def _evict(self, keys: tuple[int, ...]) -> None:
        for entry in self._books.all_entries():
            if entry.key in keys:
                self.start_later(self.begin(entry, "offload", "evict"))

    def _refuse_too_big(self, entry: Entry, reason: str) -> None:
        self._grants.unwant(entry)
        books = self._books
        needs = f"{entry.spec.id} needs {entry.need_bytes} bytes; the budget is "
        limits = f"{books.ledger.budget_bytes} bytes, less what pinned models take"
        if reason == "insufficient_vram":
            message = f"{needs}{limits} and the {books.outside_bytes} of other programs."
            self._grants.refuse_all(entry, lambda: DeviceFull(message, retry_after_s=RETRY_S))
        else:
            self._grants.refuse_all(entry, lambda: InsufficientMemory(f"{needs}{limits}."))

    def _release_retired(self) -> None:
        for entry in list(self._books.retired):
            if entry.state in (ModelState.UNLOADED, ModelState.FAILED):
                self._books.retired.remove(entry)
            elif not entry.leases and entry.state in (ModelState.READY, ModelState.OFFLOADED):
                self.start_later(self.begin(entry, "release", "replaced"))
