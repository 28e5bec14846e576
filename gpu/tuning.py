"""Changing a device's bounds and its models' timers while it works."""

from __future__ import annotations

from dataclasses import replace

from gpu.books import Books
from gpu.plan import choose_victims, is_idle
from gpu.scheduler import Scheduler
from gpu.state import ModelState


class Tuner:
    """Each change counts at once: timers that are due by now run, and what is over a bound goes."""

    def __init__(self, books: Books, scheduler: Scheduler) -> None:
        self._books = books
        self._scheduler = scheduler

    def set_timers(self, model_id: str, offload_after_s: float, release_after_s: float) -> None:
        """Count a model's idle time against other timers; raise `ModelNotFound`, `InvalidSpec`."""
        with self._scheduler.gate:
            entry = self._books.find(model_id)
            entry.spec = replace(
                entry.spec, offload_after_s=offload_after_s, release_after_s=release_after_s
            )
            self._books.now_idle(entry)

    def set_bounds(self, budget_bytes: int | None, counted_models: int | None) -> None:
        """Bound the bytes on the device and the number of counted models; None = no bound.

        Idle models beyond the bounds leave; leased ones stay until they are idle and needed no
        more.
        """
        with self._scheduler.gate:
            self._books.ledger.budget_bytes = budget_bytes
            self._books.limits = replace(self._books.limits, counted_models=counted_models)
            self._offload_surplus()
            self._scheduler.settler.settle()

    def _offload_surplus(self) -> None:
        snapshot = self._books.snapshot()
        if snapshot.room_bytes is None or snapshot.ledger_bytes <= snapshot.room_bytes:
            return
        idle = [v for v in snapshot.models if is_idle(v) and not v.pinned and not v.retired]
        deficit = snapshot.ledger_bytes - snapshot.room_bytes
        keys = choose_victims(idle, deficit, is_idle) or tuple(view.key for view in idle)
        settler = self._scheduler.settler
        for entry in list(self._books.entries.values()):
            if entry.key in keys and entry.state is ModelState.READY:
                settler.start_later(settler.begin(entry, "offload", "evict"))
