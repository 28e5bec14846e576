"""All models of one device: puts books, scheduler, moves and reaper together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from gpu.books import Books, Job, JobAction
from gpu.effects import Effects
from gpu.endings import Endings
from gpu.entry import Waiter
from gpu.force import SLICE_S, Force, ForceAction, ForceResult
from gpu.lease import Lease
from gpu.ledger import Ledger
from gpu.moves import Moves, start_thread
from gpu.pressure import PressureLevel
from gpu.reaper import Reaper
from gpu.scheduler import Scheduler
from gpu.state import Limits, ModelSpec, RequestToken, Snapshot, Terms
from gpu.tuning import Tuner
from gpu.watch import MemorySample, MemoryWatch

Runner = Callable[[str, Callable[[], object]], None]
NO_LIMITS, NO_TERMS = Limits(), Terms()


class DeviceManager:
    """Grants leases on the models of one device.

    `run_job(name, work)` runs a slow step, by default in a thread of its own; tests give one
    that runs it later, to put any two events in any order.
    """

    def __init__(
        self,
        effects: Effects,
        clock: Callable[[], float] = time.monotonic,
        budget_bytes: int | None = None,
        limits: Limits = NO_LIMITS,
        run_job: Runner = start_thread,
    ) -> None:
        self._books = Books(clock, Ledger(budget_bytes), limits)
        self._run_job = run_job
        self._scheduler = Scheduler(self._books, self._start)
        endings = Endings(self._books, self._scheduler.settler, self._scheduler.grants)
        self._moves = Moves(self._books, self._scheduler, endings, effects)
        self._force = Force(self._books, self._scheduler, self._moves)
        self._reaper = Reaper(self._books, self._scheduler, self._start)
        self.tuner = Tuner(self._books, self._scheduler)

    def start_reaper(self) -> None:
        """Let idle timers run by themselves; without it `run_due` must be called."""
        self._reaper.start()

    def watch_memory(self, sample: Callable[[], MemorySample], relief: JobAction) -> MemoryWatch:
        """Look at free memory at each heartbeat; when it gets short, `relief` what is idle."""
        room = self._moves.room
        room.relief = relief
        watch = MemoryWatch(self._books, self._scheduler.gate, sample, self._run_job)

        def relieve(level: PressureLevel) -> None:
            if level is PressureLevel.HARD:  # at "critical" somebody makes the room that it needs
                room.relieve()

        watch.subscribers.append(relieve)
        room.on_failure.insert(0, watch.allocation_failed)
        self._reaper.on_beat = watch.look
        return watch

    def register(self, spec: ModelSpec) -> None:
        """Make a model known, or replace the one of its id; holders keep what they have."""
        with self._scheduler.gate:
            self._scheduler.register(spec)

    def unregister(self, model_id: str) -> None:
        """Forget a model; it leaves when its leases end."""
        with self._scheduler.gate:
            self._scheduler.unregister(model_id)

    def set_pinned(self, model_id: str, pinned: bool) -> None:
        """Keep a model from timers and evictions, or no longer."""
        with self._scheduler.gate:
            self._scheduler.set_pinned(model_id, pinned)

    def request(
        self, model_id: str, terms: Terms = NO_TERMS, token: RequestToken | None = None
    ) -> Waiter:
        """Queue for a model without waiting; end it with `withdraw` or by the lease's release."""
        with self._scheduler.gate:
            return self._scheduler.request(model_id, terms, token)

    def withdraw(self, waiter: Waiter) -> None:
        """Give up waiting; a lease granted meanwhile is returned."""
        with self._scheduler.gate:
            lease = self._scheduler.withdraw(waiter)
        if lease is not None:
            lease.release()

    def acquire(
        self, model_id: str, token: RequestToken | None = None, terms: Terms = NO_TERMS
    ) -> Lease:
        """Wait for the model and lease it; raise what the token raises, or a `GpuError`."""
        if token is not None:
            token.check()
        with self._scheduler.gate:
            waiter = self._scheduler.request(model_id, terms, token)
            if waiter.lease is None and waiter.error is None:
                waiter.event = threading.Event()
        try:
            while waiter.event is not None and not waiter.event.wait(_slice_s(token)):
                if token is not None:
                    token.check()
            if waiter.error is not None:
                if token is not None:
                    token.check()  # an expired one has an error of its own
                raise waiter.error
        except BaseException:
            self.withdraw(waiter)
            raise
        assert waiter.lease is not None
        return waiter.lease

    def note_peak(self, model_id: str, n_bytes: int) -> None:
        """Work with a model took `n_bytes` beside it."""
        with self._scheduler.gate:
            entry = self._books.entries.get(model_id)
            if entry is not None:
                entry.peaks.append(n_bytes)

    def make_room(self, model_id: str | None = None) -> int:
        """Free device memory for work that has just failed for want of it; return the bytes.

        As much as work with that model is known to take, or else all that is idle.
        """
        with self._scheduler.gate:
            self._books.count(None, out_of_memory=1)
            entry = None if model_id is None else self._books.entries.get(model_id)
            peak = None if entry is None else max(entry.peaks, default=None)
        return self._moves.room.make(peak)

    def on_memory_failure(self, drop_caches: Callable[[], None]) -> None:
        """Have `drop_caches` called first when the device is out of memory."""
        self._moves.room.on_failure.append(drop_caches)

    def force(
        self, model_id: str | None, action: ForceAction, timeout_s: float, cancel: bool = False
    ) -> ForceResult:
        """Offload or release one model, or all but the pinned ones; `cancel` ends who has them."""
        return self._force.run(model_id, action, timeout_s, cancel)

    def run_due(self) -> int:
        """Do in this thread what the timers ask for now; return how many moves that were."""
        with self._scheduler.gate:
            jobs = self._scheduler.take_due()
        for job in jobs:
            self._moves.run(job)
        return len(jobs)

    def snapshot(self) -> Snapshot:
        """A picture of all models now."""
        with self._scheduler.gate:
            return self._books.snapshot()

    def heartbeat_age_s(self) -> float:
        """Seconds since the timers were last looked at."""
        return self._books.clock() - self._books.beat

    def close(self, timeout_s: float) -> ForceResult:
        """Refuse new requests, let the accepted ones end, release everything, stop the reaper."""
        deadline = self._books.clock() + timeout_s
        with self._scheduler.gate:
            self._books.draining = True
        while (left_s := deadline - self._books.clock()) > 0:
            with self._scheduler.gate:
                if self._books.is_quiet():
                    break
                event = self._books.watch()
            event.wait(min(left_s, SLICE_S))
        with self._scheduler.gate:
            self._scheduler.refuse_everyone()
            targets = list(self._books.entries.values())
        result = self._force.move(targets, "release", 0.0, ForceResult())
        with self._scheduler.gate:
            self._scheduler.retire_everyone()
        self._reaper.stop(max(1.0, left_s))
        return result

    def _start(self, job: Job) -> None:
        self._run_job(f"gpu-{job.action}-{job.entry.spec.id}", partial(self._moves.run, job))


def _slice_s(token: RequestToken | None) -> float | None:
    """How long to sleep before looking at the token: a cancellation cannot wake a waiter."""
    return None if token is None else min(SLICE_S, token.remaining_s())
