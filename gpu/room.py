"""Making room after the device ran out of memory: caches go first, then idle models."""

from __future__ import annotations

import logging
from collections.abc import Callable

from gpu.books import Books, Job, JobAction
from gpu.effects import Effects
from gpu.entry import Entry
from gpu.errors import DeviceFull
from gpu.gate import Gate
from gpu.plan import choose_victims, is_evictable, is_idle, waits_in_host
from gpu.settling import RETRY_S, Settler

logger = logging.getLogger(__name__)

SLACK = 1.2  # of what is missing: the allocator needs some room around it


class RoomMaker:
    """Frees device memory for work that has just failed for want of it.

    `relief` is what frees any: an offload, or a release where device and host share their
    memory. `on_failure` callbacks drop caches; they run first, without the lock.
    """

    def __init__(
        self,
        books: Books,
        gate: Gate,
        settler: Settler,
        run: Callable[[Job], bool],
        effects: Effects,
    ) -> None:
        self._books = books
        self._gate = gate
        self._settler = settler
        self._run = run
        self._effects = effects
        self.relief: JobAction = "offload"
        self.on_failure: list[Callable[[], None]] = []

    def make(self, n_bytes: int | None = None) -> int:
        """Move idle models away until `n_bytes` are free, or all; return the bytes freed."""
        for drop_caches in list(self.on_failure):
            drop_caches()
        if self.relief == "release":
            jobs, freed = self._begin_relief("evict")
        else:
            jobs, freed = self._begin_offloads(n_bytes)
        for job in jobs:
            self._run(job)
        self._effects.trim()
        logger.warning("Out of memory: moved %d idle models away, %d bytes.", len(jobs), freed)
        return freed

    def relieve(self) -> int:
        """Move all that is idle out of the way before memory runs out; return how many models."""
        jobs, _ = self._begin_relief("pressure")
        for job in jobs:
            self._run(job)
        return len(jobs)

    def device_full(self, what: str, n_bytes: int) -> DeviceFull:
        """The error for work that does not fit even so: what it needs and who has the rest."""
        with self._gate:
            views = self._books.snapshot().models
        holders = ", ".join(f"{v.id} {v.device_bytes}" for v in views if v.device_bytes)
        message = f"{what} needs {n_bytes} bytes and the device is out of memory"
        return DeviceFull(f"{message} (held: {holders or 'nothing'}).", retry_after_s=RETRY_S)

    def _begin_relief(self, reason: str) -> tuple[list[Job], int]:
        """Offload what is on the device, or release counted models and those in host memory."""
        with self._gate:
            entries = [e for e in self._books.entries.values() if self._can_go(e)]
            jobs = [self._settler.begin(entry, self.relief, reason) for entry in entries]
            return jobs, sum(entry.need_bytes for entry in entries)

    def _can_go(self, entry: Entry) -> bool:
        view = self._books.view(entry)
        if view.pinned:
            return False
        if self.relief == "offload":
            return is_idle(view)
        return waits_in_host(view) or (view.counted and is_idle(view))

    def _begin_offloads(self, n_bytes: int | None) -> tuple[list[Job], int]:
        with self._gate:
            views = [v for v in self._books.snapshot().models if not v.retired]
            idle = [v for v in views if is_evictable(v) and not v.pinned]
            wanted = None if n_bytes is None else int(n_bytes * SLACK)
            keys = () if wanted is None else choose_victims(idle, wanted, is_evictable)
            chosen = set(keys) or {v.key for v in idle}  # all of them if they do not suffice
            entries = [e for e in self._books.entries.values() if e.key in chosen]
            jobs = [self._settler.begin(e, "offload", "evict") for e in entries]
            return jobs, sum(self._books.ledger.of(e.key) for e in entries)
