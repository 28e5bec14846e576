"""Bounds and timers that change while the manager works."""

from __future__ import annotations

import pytest

from gpu.errors import InvalidSpec, ModelNotFound, NotReady
from gpu.state import Terms
from gpu_manager import GPUResourceManager
from tests.gpu.fakes import Bench, FakeToken, in_thread, until

PASSING = Terms("canary", passing=True)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_shorter_timer_counts_from_the_last_use(bench: Bench) -> None:
    bench.register("a", offload_after_s=300.0, release_after_s=600.0)
    bench.use("a")
    bench.clock.advance(50)
    assert bench.manager.run_due() == 0
    bench.manager.tuner.set_timers("a", 40.0, 600.0)
    assert bench.manager.run_due() == 1
    assert bench.state("a") == "offloaded"


def test_a_longer_timer_keeps_a_model(bench: Bench) -> None:
    bench.register("a", offload_after_s=10.0)
    bench.use("a")
    bench.manager.tuner.set_timers("a", -1.0, -1.0)
    bench.clock.advance(1e6)
    assert bench.manager.run_due() == 0


def test_the_sleeping_reaper_hears_of_a_shorter_timer() -> None:
    bench = Bench()
    bench.register("a", offload_after_s=300.0)
    bench.use("a")
    bench.manager.start_reaper()
    try:
        bench.manager.tuner.set_timers("a", 0.0, 600.0)
        until(lambda: bench.state("a") == "offloaded")
    finally:
        bench.manager.close(1.0)


def test_a_timer_that_is_none_changes_nothing(bench: Bench) -> None:
    bench.register("a", offload_after_s=10.0)
    with pytest.raises(InvalidSpec):
        bench.manager.tuner.set_timers("a", -2.0, 1.0)
    with pytest.raises(ModelNotFound):
        bench.manager.tuner.set_timers("b", 1.0, 1.0)
    assert bench.view("a").offload_after_s == 10.0


def test_a_smaller_budget_sends_the_oldest_idle_models_away(bench: Bench) -> None:
    bench.register("a", "b", "c")
    for model in ("a", "b", "c"):
        bench.use(model)
        bench.clock.advance(1)
    bench.manager.tuner.set_bounds(20, None)
    assert [bench.state(model) for model in ("a", "b", "c")] == ["offloaded", "ready", "ready"]
    assert bench.manager.snapshot().budget_bytes == 20


def test_models_in_use_or_pinned_stay_when_the_budget_shrinks(bench: Bench) -> None:
    bench.register("a", "b", "c")
    for model in ("a", "b", "c"):
        bench.use(model)
    bench.manager.set_pinned("a", True)
    with bench.manager.acquire("b"):
        bench.manager.tuner.set_bounds(5, None)
        assert [bench.state(m) for m in ("a", "b", "c")] == ["ready", "ready", "offloaded"]


def test_fewer_counted_models_release_the_oldest(bench: Bench) -> None:
    bench.register("a", "b", counted=True)
    for model in ("a", "b"):
        bench.use(model)
        bench.clock.advance(1)
    bench.manager.tuner.set_bounds(None, 1)
    assert (bench.state("a"), bench.state("b")) == ("unloaded", "ready")


def test_who_passes_by_renews_no_timer(bench: Bench) -> None:
    bench.register("a", offload_after_s=10.0)
    bench.use("a")
    bench.clock.advance(9)
    before = bench.view("a")
    with bench.manager.acquire("a", None, PASSING) as model:
        model.use()
    after = bench.view("a")
    assert (after.idle_since, after.last_used) == (before.idle_since, before.last_used)
    bench.clock.advance(1)
    assert bench.manager.run_due() == 1


def test_who_passes_by_wakes_nothing(bench: Bench) -> None:
    bench.register("a", "b", offload_after_s=10.0)
    bench.use("a")
    bench.manager.force("a", "offload", 0)
    for model in ("a", "b"):
        with pytest.raises(NotReady):
            bench.manager.acquire(model, None, PASSING)
    assert (bench.state("a"), bench.state("b")) == ("offloaded", "unloaded")


def test_who_passes_by_does_not_wait(bench: Bench) -> None:
    bench.register("a")
    with bench.manager.acquire("a"), pytest.raises(NotReady):
        bench.manager.acquire("a", None, PASSING)


def test_force_ends_those_who_hold_a_model_and_moves_it_then(bench: Bench) -> None:
    bench.register("a")
    token = FakeToken(bench.clock)
    lease = bench.manager.acquire("a", token, Terms("request-1"))
    moved = []
    mover = in_thread(lambda: moved.append(bench.manager.force("a", "offload", 10, True)))
    until(lambda: token.cancelled)
    assert bench.state("a") == "ready"  # its bytes stay until it is given back
    lease.release()
    mover.join(10)
    (result,) = moved
    assert (result.offloaded, result.cancelled) == (["a"], ["request-1"])


def test_without_force_nobody_is_ended(bench: Bench) -> None:
    bench.register("a")
    token = FakeToken(bench.clock)
    with bench.manager.acquire("a", token):
        result = bench.manager.force("a", "offload", 0)
    assert (result.cancelled, token.cancelled) == ([], False)


def test_the_facade_borrows_and_changes_bounds() -> None:
    bench, gpu = Bench(), GPUResourceManager("cpu", reaper=False)
    gpu.register(bench.world.spec("a", counted=True))
    with pytest.raises(NotReady):
        gpu.borrow("a", "canary")
    gpu.acquire("a").release()
    with gpu.borrow("a", "canary"):
        pass
    gpu.set_timers("a", 0.0, 0.0)
    gpu.set_bounds(None, 4)
    assert gpu.get_status()["config"]["max_counted_models"] == 4
    assert gpu.run_due() == 1
    gpu.close()
