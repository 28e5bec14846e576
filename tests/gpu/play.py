"""Any events in any order upon one device manager, and what must hold after each of them.

Slow steps wait in a list, so that whoever plays decides when each runs and what happens in its
midst. The clock is a fake one; there is one thread.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from gpu.entry import Waiter
from gpu.errors import GpuError
from gpu.force import ForceAction
from gpu.plan import plan, surplus_models
from gpu.state import Limits, ModelState, Snapshot, Terms
from tests.gpu.fakes import Bench, FakeToken

SIZES = {"a": 10, "b": 20, "c": 30, "d": 40}
IDS = sorted(SIZES)
EVENTS = ["load", "offload", "restore"]
ACTIONS = ["ask", "end", "force", "remove"]
REFUSALS = {"model_not_found", "load_backoff"}


@dataclass(frozen=True)
class Setting:
    """What stays the same during a play; `promise` times the true size is what specs state."""

    budget: int | None = 50
    promise: float = 1.0
    pinned: str = ""
    limits: Limits = Limits()


SETTINGS = [
    Setting(budget, promise, pinned, Limits(host, counted, 60.0))
    for budget in (None, 40, 50, 70)
    for promise in (0.5, 1.0, 2.0)
    for pinned in ("", "a")
    for host, counted in ((None, None), (40, None), (None, 2), (30, 1))
]


class Play:
    """Drives one device manager and compares it with what was handed out."""

    def __init__(self, setting: Setting) -> None:
        self.bench = Bench(setting.budget, inline=False, limits=setting.limits)
        self.bench.world.sizes.update(SIZES)
        self.manager = self.bench.manager
        self.setting = setting
        self.waiters: list[Waiter] = []
        self.epochs: dict[int, int] = {}
        self.n_events = 0
        for model_id in IDS:
            self.register(model_id, 1, 5.0, 20.0)

    # What may happen.

    def register(
        self, model_id: str, concurrency: int, offload_after_s: float, release_after_s: float
    ) -> None:
        """Also replaces what is there."""
        self.bench.register(
            model_id,
            concurrency=concurrency,
            offload_after_s=offload_after_s,
            release_after_s=release_after_s,
            pinned=model_id == self.setting.pinned,
            counted=model_id != "d",
            nbytes_estimate=int(SIZES[model_id] * self.setting.promise),
        )

    def unregister(self, model_id: str) -> None:
        """Not registered is fine too."""
        self.attempt(lambda: self.manager.unregister(model_id))

    def request(
        self,
        model_id: str,
        batch: bool = False,
        keep_alive_s: float | None = None,
        timeout_s: float = 1e9,
    ) -> None:
        """Queue for a model."""
        terms = Terms("", batch, keep_alive_s)
        token = FakeToken(self.bench.clock, timeout_s)
        self.attempt(lambda: self.waiters.append(self.manager.request(model_id, terms, token)))

    def request_all(self) -> None:
        """Queue for each model."""
        for model_id in IDS:
            self.request(model_id)

    def end_lease(self, nth: int) -> None:
        """Use and end a lease, and end it once more."""
        if granted := [w for w in self.waiters if w.lease is not None]:
            waiter = granted[nth % len(granted)]
            assert waiter.lease is not None
            waiter.lease.model.use()
            waiter.lease.release()
            waiter.lease.release()
            self.waiters.remove(waiter)

    def give_up(self, nth: int) -> None:
        """A caller goes away, whether it has its lease already or not."""
        if self.waiters:
            self.manager.withdraw(self.waiters.pop(nth % len(self.waiters)))

    def run_a_slow_step(self, nth: int) -> None:
        """Steps of different models end in any order."""
        if self.bench.jobs.waiting:
            self.bench.jobs.run(nth % len(self.bench.jobs.waiting))

    def happens_during(self, event: str, model_id: str, action: str) -> None:
        """The next such step finds the world changed in its midst."""
        acts: dict[str, Callable[[], Any]] = {
            "ask": self.request_all,
            "end": self.end_all_leases,
            "force": lambda: self.force(None, "release"),
            "remove": lambda: self.unregister(model_id),
        }
        self.bench.world.during.append((event, model_id, acts[action]))

    def next_step_fails(self, event: str, model_id: str, out_of_memory: bool = False) -> None:
        """A fault in the loader, or in a move."""
        self.bench.world.fault = MemoryError if out_of_memory else RuntimeError
        self.bench.world.faults.append((event, model_id))

    def time_passes(self, seconds: float) -> None:
        """The reaper may be late."""
        self.bench.clock.advance(seconds)

    def time_passes_on_time(self, seconds: float) -> None:
        """The reaper wakes when something is due, and each second."""
        end = self.bench.clock.now + seconds
        while self.bench.clock.now < end:
            wake = max(self.manager._books.next_due(), self.bench.clock.now + 1e-3)
            self.bench.clock.now = min(end, wake, self.bench.clock.now + 1.0)
            self.timers_run()

    def timers_run(self) -> None:
        """The reaper looks; whoever's deadline has come has an answer."""
        self.manager.run_due()
        now = self.bench.clock.now
        late = [w for w in self.waiters if w.deadline <= now and w.lease is None]
        assert all(w.error is not None for w in late)
        self.waiters = [w for w in self.waiters if w not in late]

    def force(self, model_id: str | None, action: ForceAction) -> None:
        """Somebody presses a button."""
        self.attempt(lambda: self.manager.force(model_id, action, 0))

    def pin(self, model_id: str, pinned: bool) -> None:
        """Somebody wants it to stay, or no longer."""
        if pinned or model_id != self.setting.pinned:
            self.attempt(lambda: self.manager.set_pinned(model_id, pinned))

    def end_all_leases(self) -> None:
        """All requests that have a model are done."""
        for waiter in [w for w in self.waiters if w.lease is not None]:
            self.manager.withdraw(waiter)
            self.waiters.remove(waiter)

    def attempt(self, action: Callable[[], Any]) -> None:
        """Refusals by name are part of the game."""
        try:
            action()
        except GpuError as error:
            assert error.code in REFUSALS

    # What must hold.

    def check(self) -> None:
        """All that must hold between any two events."""
        shot = self.manager.snapshot()
        self._no_use_after_free()
        self._no_duplicate_load()
        self._the_ledger_is_right(shot)
        self._the_counts_are_right(shot)
        if not self.bench.jobs.waiting:
            self._nobody_waits_without_a_reason(shot)
            assert surplus_models(shot) == ()

    def _no_use_after_free(self) -> None:
        for waiter in self.waiters:
            assert waiter.lease is None or waiter.error is None
            if waiter.lease is not None:
                waiter.lease.model.use()

    def _no_duplicate_load(self) -> None:
        born = self.bench.world.born
        born[:] = [ref for ref in born if ref() is not None]
        alive = Counter(model.generation for ref in born if (model := ref()) is not None)
        assert all(n == 1 for n in alive.values())

    def _the_ledger_is_right(self, shot: Snapshot) -> None:
        for view in shot.models:
            assert view.state is not ModelState.READY or view.device_bytes == SIZES[view.id]
        assert shot.ledger_bytes == sum(view.device_bytes for view in shot.models)
        assert shot.ledger_bytes >= 0
        assert shot.budget_bytes is None or shot.ledger_bytes <= shot.budget_bytes

    def _the_counts_are_right(self, shot: Snapshot) -> None:
        out = sum(waiter.lease is not None for waiter in self.waiters)
        assert sum(view.leases for view in shot.models) == out
        for view in shot.models:
            assert view.leases <= view.concurrency
            assert view.epoch >= self.epochs.get(view.key, 0)
            assert not view.draining
            self.epochs[view.key] = view.epoch

    def _nobody_waits_without_a_reason(self, shot: Snapshot) -> None:
        # With no step under way, who waits is waiting for a lease to end, and only for that.
        for view in shot.models:
            if view.state is ModelState.READY:
                assert not view.waiting or view.leases == view.concurrency or view.latched
            elif view.waiting:
                assert plan(shot, view.key, may_evict=False).reason == "busy"
        books = self.manager._books
        if wanted := books.in_turn():
            first = plan(shot, wanted[0].key)
            assert first.reason == "busy" or first.kind == "latch"
        assert all(e.latched_for is None or e.latched_for in wanted for e in books.all_entries())

    # Playing.

    def step(self, random: Random) -> None:
        """Let one random event happen, and check."""
        pick, nth = random.choice, random.randrange(1000)
        model_id = pick(IDS)
        moves: list[Callable[[], None]] = [
            lambda: self.request(model_id),
            lambda: self.request(model_id, True, pick([None, 0.0, 3.0, -1.0]), 1e9),
            lambda: self.request(model_id, pick([True, False]), None, pick([0.05, 2.0, 30.0])),
            lambda: self.end_lease(nth),
            lambda: self.end_lease(nth),
            lambda: self.run_a_slow_step(nth),
            lambda: self.run_a_slow_step(nth),
            lambda: self.run_a_slow_step(nth),
            lambda: self.time_passes_on_time(pick([0.05, 0.5, 5.0])),
            lambda: self.give_up(nth),
            self.timers_run,
        ]
        rare: list[Callable[[], None]] = [
            lambda: self.register(model_id, pick([1, 2, 3]), pick([-1.0, 0, 5]), pick([-1.0, 20])),
            lambda: self.unregister(model_id),
            lambda: self.happens_during(pick(EVENTS), model_id, pick(ACTIONS)),
            lambda: self.next_step_fails(pick(EVENTS), model_id, pick([True, False])),
            lambda: self.time_passes(pick([0.5, 5.0, 70.0])),
            lambda: self.force(pick([None, model_id]), pick(["offload", "release"])),
            lambda: self.pin(model_id, pick([True, False])),
            self.end_all_leases,
        ]
        pick(rare if random.random() < 0.15 else moves)()
        self.n_events += 1
        self.check()

    def finish(self) -> None:
        """Everyone who waits is answered, and nothing is left after the close."""
        self.bench.world.during.clear()
        for _ in range(500):
            self.bench.jobs.run_all()
            self.waiters = [w for w in self.waiters if w.error is None]
            if not self.waiters:
                break
            if not any(w.lease is not None for w in self.waiters):
                self.time_passes_on_time(20.0)  # only a latch may still be due
                self.bench.jobs.run_all()
            self.end_all_leases()
        assert self.waiters == []
        self.manager.close(0)
        self.bench.jobs.run_all()
        if any(ref() is not None for ref in self.bench.world.born):
            gc.collect()
        assert [ref() for ref in self.bench.world.born if ref() is not None] == []
        assert self.manager.snapshot().ledger_bytes == 0
