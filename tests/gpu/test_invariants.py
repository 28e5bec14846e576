"""Any events in any order: what must hold after each of them, and at the end.

Slow steps wait in a list, so that the search decides when each runs and what happens in its
midst. The clock is a fake one; there is one thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gpu.entry import Waiter
from gpu.errors import GpuError
from gpu.force import ForceAction
from gpu.plan import plan
from gpu.state import ModelState
from tests.gpu.fakes import Bench

SIZES = {"a": 10, "b": 20, "c": 30, "d": 40}
IDS = st.sampled_from(sorted(SIZES))
EVENTS = st.sampled_from(["load", "offload", "restore"])


class ManagerMachine(RuleBasedStateMachine):
    """Drives one device manager and compares it with what was handed out."""

    @initialize(
        budget=st.sampled_from([None, 40, 50, 70]),
        promise=st.sampled_from([0.5, 1.0, 2.0]),
        pinned=st.sampled_from(["", "a"]),
    )
    def start(self, budget: int | None, promise: float, pinned: str) -> None:
        """Four models of different sizes, some bigger or smaller than promised."""
        self.bench = Bench(budget, inline=False)
        self.bench.world.sizes.update(SIZES)
        self.promise, self.pinned = promise, pinned
        self.waiters: list[Waiter] = []
        self.epochs: dict[int, int] = {}
        for model_id in SIZES:
            self.register(model_id, 1, 5.0, 20.0)

    @rule(
        model_id=IDS,
        concurrency=st.integers(1, 3),
        offload_after_s=st.sampled_from([-1.0, 0.0, 5.0]),
        release_after_s=st.sampled_from([-1.0, 0.0, 20.0]),
    )
    def register(
        self, model_id: str, concurrency: int, offload_after_s: float, release_after_s: float
    ) -> None:
        """Also replaces what is there."""
        self.bench.register(
            model_id,
            concurrency=concurrency,
            offload_after_s=offload_after_s,
            release_after_s=release_after_s,
            pinned=model_id == self.pinned,
            nbytes_estimate=int(SIZES[model_id] * self.promise),
        )

    @rule(model_id=IDS)
    def unregister(self, model_id: str) -> None:
        """Not registered is fine too."""
        self.try_to(lambda: self.bench.manager.unregister(model_id))

    @rule(model_id=IDS)
    def request(self, model_id: str) -> None:
        """Queue for a model."""
        self.try_to(lambda: self.waiters.append(self.bench.manager.request(model_id)))

    @rule(data=st.data())
    def use_and_release(self, data: st.DataObject) -> None:
        """End a lease, sometimes twice."""
        if granted := [w for w in self.waiters if w.lease is not None]:
            waiter = data.draw(st.sampled_from(granted))
            assert waiter.lease is not None
            waiter.lease.model.use()
            waiter.lease.release()
            waiter.lease.release()
            self.waiters.remove(waiter)

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """A waiter's deadline has come, whether it has its lease already or not."""
        if self.waiters:
            waiter = data.draw(st.sampled_from(self.waiters))
            self.bench.manager.withdraw(waiter)
            self.waiters.remove(waiter)

    @rule(data=st.data())
    @precondition(lambda self: self.bench.jobs.waiting)
    def run_a_slow_step(self, data: st.DataObject) -> None:
        """Steps of different models end in any order."""
        self.bench.jobs.run(data.draw(st.integers(0, len(self.bench.jobs.waiting) - 1)))

    @rule(event=EVENTS, model_id=IDS, action=st.sampled_from(["ask", "end", "force", "remove"]))
    def something_happens_during(self, event: str, model_id: str, action: str) -> None:
        """The next such step finds the world changed in its midst."""
        acts: dict[str, Callable[[], Any]] = {
            "ask": lambda: [self.request(wanted) for wanted in SIZES],
            "end": self.release_all,
            "force": lambda: self.force(None, "release"),
            "remove": lambda: self.unregister(model_id),
        }
        self.bench.world.during.append((event, model_id, acts[action]))

    @rule(event=EVENTS, model_id=IDS)
    def next_such_step_fails(self, event: str, model_id: str) -> None:
        """A fault in the loader, or in a move."""
        self.bench.world.faults.append((event, model_id))

    @rule(seconds=st.sampled_from([0.5, 5.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        """The reaper may be late."""
        self.bench.clock.advance(seconds)

    @rule()
    def timers_run(self) -> None:
        """The reaper looks."""
        self.bench.manager.run_due()

    @rule(model_id=st.one_of(st.none(), IDS), action=st.sampled_from(["offload", "release"]))
    def force(self, model_id: str | None, action: ForceAction) -> None:
        """Somebody presses a button."""
        self.try_to(lambda: self.bench.manager.force(model_id, action, 0))

    @invariant()
    def no_use_after_free(self) -> None:
        """Whoever has a lease has a model that is on its device."""
        for waiter in self.waiters:
            assert waiter.lease is None or waiter.error is None
            if waiter.lease is not None:
                waiter.lease.model.use()

    @invariant()
    def no_duplicate_load(self) -> None:
        """A registration never has two models."""
        alive = Counter(ref().generation for ref in self.bench.world.born if ref() is not None)  # type: ignore[union-attr]
        assert all(n == 1 for n in alive.values())

    @invariant()
    def the_ledger_is_right(self) -> None:
        """Never negative, never over budget, the sum of its parts, and each part true."""
        shot = self.bench.manager.snapshot()
        for view in shot.models:
            assert view.state is not ModelState.READY or view.device_bytes == SIZES[view.id]
        assert shot.ledger_bytes == sum(view.device_bytes for view in shot.models)
        assert shot.ledger_bytes >= 0
        assert shot.budget_bytes is None or shot.ledger_bytes <= shot.budget_bytes

    @invariant()
    def the_counts_are_right(self) -> None:
        """Leases are those handed out, within each model's concurrency, in growing epochs."""
        shot = self.bench.manager.snapshot()
        out = sum(waiter.lease is not None for waiter in self.waiters)
        assert sum(view.leases for view in shot.models) == out
        for view in shot.models:
            assert view.leases <= view.concurrency
            assert view.epoch >= self.epochs.get(view.key, 0)
            assert not view.draining
            self.epochs[view.key] = view.epoch

    @invariant()
    def nobody_waits_without_a_reason(self) -> None:
        """With no step under way, who waits is waiting for a lease to end, and only for that."""
        if self.bench.jobs.waiting:
            return
        shot = self.bench.manager.snapshot()
        for view in shot.models:
            if view.state is ModelState.READY:
                assert not view.waiting or view.leases == view.concurrency
            elif view.waiting:
                assert plan(shot, view.key, may_evict=False).reason == "busy"
        if wanted := self.bench.manager._books.wanted:
            assert plan(shot, wanted[0].key).reason == "busy"

    def release_all(self) -> None:
        """End all leases."""
        for waiter in [w for w in self.waiters if w.lease is not None]:
            self.bench.manager.withdraw(waiter)
            self.waiters.remove(waiter)

    def try_to(self, action: Callable[[], Any]) -> None:
        """Refusals by name are part of the game."""
        try:
            action()
        except GpuError as error:
            assert error.code in {"model_not_found", "load_backoff"}

    def teardown(self) -> None:
        """Everyone who waits is answered, and nothing is left after the close."""
        if not hasattr(self, "bench"):
            return
        self.bench.world.during.clear()
        for _ in range(200):
            self.bench.jobs.run_all()
            self.waiters = [w for w in self.waiters if w.error is None]
            if not self.waiters:
                break
            assert any(w.lease is not None for w in self.waiters), "nobody can go on"
            self.release_all()
        assert self.waiters == []
        self.bench.manager.close(0)
        self.bench.jobs.run_all()
        assert [ref() for ref in self.bench.world.born if ref() is not None] == []
        assert self.bench.manager.snapshot().ledger_bytes == 0


ManagerMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestManager = ManagerMachine.TestCase
