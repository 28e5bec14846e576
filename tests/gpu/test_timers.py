"""Idle models leave their device, then memory; models in use stay."""

from __future__ import annotations

import logging
import threading

import pytest

from gpu.device import DeviceManager
from gpu.effects import DeviceEffects
from tests.gpu.fakes import Bench, World


def test_an_idle_model_is_offloaded_then_released(bench: Bench) -> None:
    bench.register("a", offload_after_s=60, release_after_s=600)
    bench.use("a")
    bench.clock.advance(59.9)
    assert bench.manager.run_due() == 0
    bench.clock.advance(0.1)
    assert bench.manager.run_due() == 1
    assert bench.state("a") == "offloaded"
    assert bench.world.alive("a") == 1
    bench.clock.advance(539.9)
    assert bench.manager.run_due() == 0
    bench.clock.advance(0.2)
    assert bench.manager.run_due() == 1
    assert (bench.state("a"), bench.world.alive("a")) == ("unloaded", 0)


def test_timers_count_from_the_end_of_the_last_lease(bench: Bench) -> None:
    bench.register("a", offload_after_s=60)
    lease = bench.manager.acquire("a")
    bench.clock.advance(1000)
    assert bench.manager.run_due() == 0
    lease.release()
    bench.clock.advance(59)
    assert bench.manager.run_due() == 0
    bench.clock.advance(1)
    assert bench.manager.run_due() == 1


def test_a_leased_model_outlives_all_timers(bench: Bench) -> None:
    bench.register("a", offload_after_s=0, release_after_s=0)
    with bench.manager.acquire("a") as model:
        bench.clock.advance(1e6)
        assert bench.manager.run_due() == 0
        model.use()


def test_an_offloaded_model_is_restored_not_loaded_again(bench: Bench) -> None:
    bench.register("a", offload_after_s=0)
    bench.use("a")
    bench.manager.run_due()
    assert bench.use("a") == "offloaded"
    assert (bench.world.count("load", "a"), bench.world.count("restore", "a")) == (1, 1)


def test_a_release_timer_alone_drops_the_model_from_its_device(bench: Bench) -> None:
    bench.register("a", offload_after_s=-1, release_after_s=5)
    bench.use("a")
    bench.clock.advance(5)
    bench.manager.run_due()
    assert bench.state("a") == "unloaded"
    assert bench.world.count("offload", "a") == 0


def test_never_means_never(bench: Bench) -> None:
    bench.register("a", offload_after_s=-1, release_after_s=-1)
    bench.use("a")
    bench.clock.advance(1e9)
    assert bench.manager.run_due() == 0


def test_a_pinned_model_ignores_its_timers(bench: Bench) -> None:
    bench.register("a", offload_after_s=0, release_after_s=0, pinned=True)
    bench.use("a")
    bench.clock.advance(1e9)
    assert bench.manager.run_due() == 0


def test_a_restore_that_fails_drops_the_model_and_loads_it_afresh(bench: Bench) -> None:
    bench.register("a", offload_after_s=0)
    bench.use("a")
    bench.manager.run_due()
    bench.world.faults.append(("restore", "a"))
    waiter = bench.manager.request("a")
    assert waiter.error is not None
    assert (bench.state("a"), bench.world.alive("a")) == ("failed", 0)
    bench.clock.advance(1)
    assert bench.use("a") == "unloaded"
    assert bench.world.count("load", "a") == 2


def test_an_offload_that_fails_drops_the_model(bench: Bench) -> None:
    bench.register("a", offload_after_s=0)
    bench.use("a")
    bench.world.faults.append(("offload", "a"))
    bench.manager.run_due()
    assert (bench.state("a"), bench.world.alive("a")) == ("failed", 0)
    assert bench.manager.snapshot().ledger_bytes == 0


def test_freed_bytes_are_told_to_the_device_once(bench: Bench) -> None:
    bench.register("a", offload_after_s=0, release_after_s=5)
    bench.use("a")
    bench.manager.run_due()
    bench.clock.advance(5)
    bench.manager.run_due()
    assert bench.freed == [10]


def test_a_released_model_that_lives_on_is_counted_and_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.register("a", release_after_s=0)
    with bench.manager.acquire("a") as model:
        stolen = model
    with caplog.at_level(logging.WARNING):
        bench.manager.run_due()
    assert bench.view("a").counters.leak_suspected == 1
    assert "still holds it" in caplog.text
    assert stolen.use() == "a"


def test_a_model_in_a_reference_cycle_is_no_leak(bench: Bench) -> None:
    bench.register("a", release_after_s=0)
    with bench.manager.acquire("a") as model:
        model.myself = model
    del model
    bench.manager.run_due()
    assert bench.view("a").counters.leak_suspected == 0


def test_the_reaper_acts_at_once_when_a_timer_is_0_and_ends_on_close() -> None:
    world = World()
    offloaded = threading.Event()
    manager = DeviceManager(DeviceEffects("dev"))
    manager.start_reaper()
    manager.register(world.spec("a", offload_after_s=0, release_after_s=-1))
    world.during.append(("offload", "a", offloaded.set))
    with manager.acquire("a"):
        assert not offloaded.wait(0)
    assert offloaded.wait(10)
    manager.close(10)
    assert not manager._reaper._thread.is_alive()


def test_the_reaper_wakes_for_the_earliest_timer() -> None:
    world = World()
    offloaded = threading.Event()
    manager = DeviceManager(DeviceEffects("dev"))
    manager.register(world.spec("late", offload_after_s=600))
    manager.register(world.spec("soon", offload_after_s=0.05))
    manager.start_reaper()
    world.during.append(("offload", "soon", offloaded.set))
    for model_id in ("late", "soon"):
        with manager.acquire(model_id):
            pass
    assert offloaded.wait(10)
    assert world.count("offload", "late") == 0
    manager.close(10)


def test_a_release_wakes_the_reaper_only_for_a_timer_before_its_next_look(bench: Bench) -> None:
    bench.register("soon", offload_after_s=0)
    bench.register("late", offload_after_s=60)
    bench.manager._books.next_wake = bench.clock() + 1
    bench.use("late")
    assert not bench.manager._books.timer.is_set()
    bench.use("soon")
    assert bench.manager._books.timer.is_set()


def test_the_heartbeat_ages_when_the_timers_are_not_looked_at(bench: Bench) -> None:
    bench.manager.run_due()
    bench.clock.advance(7)
    assert bench.manager.heartbeat_age_s() == 7
    bench.manager.run_due()
    assert bench.manager.heartbeat_age_s() == 0
