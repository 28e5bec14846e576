"""When the device runs out of memory: caches go, idle models go, one more try, a clear refusal."""

from __future__ import annotations

import pytest

from gpu.errors import DeviceFull, LoadFailed
from gpu.peak import run_and_measure
from gpu.probe import DeviceMemory
from gpu.watch import MemorySample
from tests.gpu.fakes import Bench


def short_of_memory(times: int, **options: int) -> Bench:
    """`idle` and `pinned` are on the device, `busy` is in use; loads of `w` fail `times` times."""
    bench = Bench()
    bench.world.fault = MemoryError
    bench.register("idle", "pinned", "busy", "w", **options)
    for model_id in ("idle", "pinned"):
        bench.use(model_id)
    bench.manager.set_pinned("pinned", True)
    bench.manager.request("busy")
    bench.world.faults += [("load", "w")] * times
    return bench


def states(bench: Bench) -> list[str]:
    return [bench.state(model_id) for model_id in ("idle", "pinned", "busy", "w")]


def test_idle_models_make_room_and_the_load_is_tried_once_more() -> None:
    bench = short_of_memory(1)
    assert bench.use("w") == "unloaded"
    assert states(bench) == ["offloaded", "ready", "ready", "ready"]
    assert bench.world.count("load", "w") == 2
    assert bench.view("w").counters.out_of_memory == 1


def test_no_more_models_leave_than_the_load_needs() -> None:
    bench = Bench()
    bench.world.fault = MemoryError
    bench.world.sizes.update(big=100, small=10)
    bench.register("small", "big", "w", nbytes_estimate=10)
    for model_id in ("big", "small"):
        bench.use(model_id)
        bench.clock.advance(1)
    bench.world.faults.append(("load", "w"))
    bench.use("w")
    assert (bench.state("big"), bench.state("small")) == ("offloaded", "ready")


def test_caches_are_dropped_before_any_model_moves() -> None:
    bench = short_of_memory(1)
    bench.manager.on_memory_failure(lambda: bench.world.events.append(("drop", "caches")))
    bench.use("w")
    steps = [event for event, _ in bench.world.events]
    assert steps[steps.index("drop") :] == ["drop", "offload", "load"]


def test_a_load_that_finds_no_room_even_so_says_who_holds_it_and_is_retryable() -> None:
    bench = short_of_memory(2)
    with pytest.raises(DeviceFull, match=r"w needs 0 bytes.*busy 10") as refused:
        bench.use("w")
    assert (refused.value.retryable, refused.value.retry_after_s) == (True, 10.0)
    assert bench.world.count("load", "w") == 2
    assert bench.state("w") == "failed"


def test_another_failure_at_the_second_try_is_what_it_is() -> None:
    bench = short_of_memory(1)

    def break_it() -> None:
        bench.world.fault = RuntimeError
        bench.world.faults.append(("load", "w"))

    bench.manager.on_memory_failure(break_it)
    with pytest.raises(LoadFailed, match="RuntimeError"):
        bench.use("w")


def test_running_work_can_ask_for_room_too() -> None:
    bench = short_of_memory(0)
    assert bench.manager.make_room() == 10
    assert states(bench)[:3] == ["offloaded", "ready", "ready"]
    assert bench.manager.make_room() == 0


def test_running_work_gets_the_room_that_it_is_known_to_need() -> None:
    bench = Bench()
    bench.world.sizes.update(big=100, small=10)
    bench.register("small", "big", "w")
    for model_id in ("w", "big", "small"):
        bench.use(model_id)
        bench.clock.advance(1)
    for n_bytes in (50, 5):
        bench.manager.note_peak("w", n_bytes)
    assert bench.view("w").peak_bytes == 50
    bench.manager.request("w")
    assert bench.manager.make_room("w") == 100  # 60 are wanted
    assert (bench.state("big"), bench.state("small")) == ("offloaded", "ready")
    assert bench.manager.make_room("unheard of") == 10


def test_only_the_last_fifty_peaks_count() -> None:
    bench = Bench()
    bench.register("w")
    bench.manager.note_peak("w", 1000)
    for _ in range(50):
        bench.manager.note_peak("w", 7)
    assert bench.view("w").peak_bytes == 7


def test_on_a_cpu_work_is_done_and_nothing_is_measured() -> None:
    assert run_and_measure("cpu", lambda: "done") == ("done", None)


def test_where_device_and_host_share_memory_only_a_release_makes_room() -> None:
    bench = Bench()
    bench.manager.watch_memory(lambda: MemorySample(1.0, DeviceMemory(0, "dev")), "release")
    bench.register("voice", "busy", counted=True)
    bench.register("shared")
    for model_id in ("voice", "shared"):
        bench.use(model_id)
    bench.manager.request("busy")
    assert bench.manager.make_room() == 10
    states = [bench.state(model_id) for model_id in ("voice", "shared", "busy")]
    assert states == ["unloaded", "ready", "ready"]
    assert bench.manager.make_room() == 0
