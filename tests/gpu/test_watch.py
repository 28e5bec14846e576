"""Memory is looked at each second; who must act is told when it gets short."""

from __future__ import annotations

import pytest

from gpu.pressure import PressureLevel
from gpu.probe import DeviceMemory
from gpu.watch import MemorySample, sampler
from tests.gpu.fakes import Bench


class Memory:
    """What a sample finds."""

    def __init__(self) -> None:
        self.free = 1.0
        self.outside = 0
        self.broken = False

    def __call__(self) -> MemorySample:
        if self.broken:
            raise RuntimeError("the driver is gone")
        return MemorySample(self.free, DeviceMemory(0, "dev", external_bytes=self.outside))


def look(bench: Bench, times: int = 4) -> None:
    """As many heartbeats."""
    for _ in range(times):
        bench.manager._reaper.on_beat()
        bench.clock.advance(1)


def test_idle_models_leave_a_device_that_gets_full(bench: Bench) -> None:
    memory = Memory()
    bench.manager.watch_memory(memory, "offload")
    bench.register("a", "b", "pinned", "busy")
    for model_id in ("a", "b", "pinned"):
        bench.use(model_id)
    bench.manager.set_pinned("pinned", True)
    bench.manager.request("busy")
    memory.free = 0.10
    look(bench)
    assert bench.state("a") == "ready"  # "soft" is for others to act on
    memory.free = 0.05
    look(bench)
    states = [bench.state(i) for i in ("a", "b", "pinned", "busy")]
    assert states == ["offloaded", "offloaded", "ready", "ready"]


def test_where_device_and_host_share_memory_idle_voices_are_released(bench: Bench) -> None:
    memory = Memory()
    bench.manager.watch_memory(memory, "release")
    bench.register("voice", counted=True)
    bench.register("shared")
    bench.register("parked", offload_after_s=0)
    for model_id in ("voice", "shared", "parked"):
        bench.use(model_id)
    bench.manager.run_due()
    memory.free = 0.05
    look(bench)
    assert [bench.state(i) for i in ("voice", "shared", "parked")] == [
        *("unloaded", "ready", "unloaded")
    ]


def test_subscribers_hear_of_each_change_once(bench: Bench) -> None:
    memory, heard = Memory(), list[str]()
    watch = bench.manager.watch_memory(memory, "offload")
    watch.subscribers.append(lambda level: heard.append(level.name))
    for free in (0.5, 0.10, 0.05, 0.5):
        memory.free = free
        look(bench, 6)
    assert heard == ["SOFT", "HARD", "NONE"]


def test_a_failed_allocation_is_critical_at_once(bench: Bench) -> None:
    watch = bench.manager.watch_memory(Memory(), "offload")
    bench.world.fault = MemoryError
    bench.world.faults.append(("load", "a"))
    bench.register("a")
    bench.use("a")
    assert watch.level.name == "CRITICAL"
    look(bench, 6)
    assert watch.level.name == "NONE"


def test_what_other_programs_hold_is_not_ours_to_plan_with() -> None:
    bench = Bench(budget_bytes=30)
    memory = Memory()
    bench.manager.watch_memory(memory, "offload")
    bench.register("a", "b", nbytes_estimate=10)
    memory.outside = 20
    look(bench, 1)
    bench.use("a")
    bench.use("b")
    assert [bench.state(i) for i in "ab"] == ["offloaded", "ready"]


def test_a_driver_that_does_not_answer_stops_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    memory = Memory()
    watch = bench.manager.watch_memory(memory, "offload")
    memory.broken = True
    look(bench, 1)
    assert "the driver is gone" in caplog.text
    memory.broken, memory.free = False, 0.05
    look(bench)
    assert watch.level is PressureLevel.HARD


def test_a_cpu_is_judged_by_the_host_and_a_gpu_by_its_driver() -> None:
    host = sampler("cpu")()
    assert 0 < host.free_fraction <= 1
    assert host.device.name == "cpu"
