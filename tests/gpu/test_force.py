"""Moves ordered by name wait for leases, and never take a model from its holder."""

from __future__ import annotations

import pytest

from gpu.errors import LoadFailed, ModelNotFound
from gpu.force import ForceResult, Skipped
from tests.gpu.fakes import Bench, in_thread, until


def test_an_idle_model_is_offloaded_at_once(bench: Bench) -> None:
    bench.register("a")
    bench.use("a")
    result = bench.manager.force("a", "offload", 0)
    assert result == ForceResult(offloaded=["a"], freed_bytes=10)
    assert (bench.state("a"), bench.use("a")) == ("offloaded", "offloaded")


def test_an_idle_model_is_released_at_once(bench: Bench) -> None:
    bench.register("a")
    bench.use("a")
    result = bench.manager.force("a", "release", 0)
    assert result == ForceResult(released=["a"], freed_bytes=10)
    assert (bench.state("a"), bench.world.alive("a")) == ("unloaded", 0)


def test_an_offloaded_model_is_released_without_freeing_device_bytes(bench: Bench) -> None:
    bench.register("a")
    bench.use("a")
    bench.manager.force("a", "offload", 0)
    result = bench.manager.force("a", "release", 0)
    assert (result.released, result.freed_bytes) == (["a"], 0)


def test_there_is_nothing_to_do_for_a_model_that_is_not_there(bench: Bench) -> None:
    bench.register("a")
    for action in ("offload", "release"):
        assert bench.manager.force("a", action, 0) == ForceResult()


def test_an_unknown_model_cannot_be_moved(bench: Bench) -> None:
    with pytest.raises(ModelNotFound):
        bench.manager.force("nobody", "offload", 0)


def test_a_leased_model_is_skipped_after_the_timeout(bench: Bench) -> None:
    bench.register("a")
    with bench.manager.acquire("a") as model:
        result = bench.manager.force("a", "release", 0)
        assert result.skipped == [Skipped("a", 1, "in_use")]
        assert model.use() == "a"
    assert bench.use("a") == "ready"


def test_the_result_is_plain_values_for_json(bench: Bench) -> None:
    bench.register("a", "b")
    bench.use("b")
    with bench.manager.acquire("a"):
        result = bench.manager.force(None, "offload", 0)
    assert result.to_dict() == {
        "offloaded": ["b"],
        "released": [],
        "skipped": [{"model": "a", "leases": 1, "reason": "in_use"}],
        "cancelled": [],
        "freed_bytes": 10,
    }


def test_a_forced_move_waits_for_the_last_lease(bench: Bench) -> None:
    bench.register("a", concurrency=2)
    leases = [bench.manager.acquire("a") for _ in range(2)]
    results: list[ForceResult] = []
    thread = in_thread(lambda: results.append(bench.manager.force("a", "offload", 10)))
    until(lambda: bench.view("a").draining)
    leases[0].release()
    assert leases[1].model.use() == "a"
    leases[1].release()
    thread.join(10)
    assert results[0].offloaded == ["a"]


def test_the_timeout_of_a_forced_move_is_read_from_the_clock(bench: Bench) -> None:
    bench.register("a")
    results: list[ForceResult] = []
    with bench.manager.acquire("a"):
        thread = in_thread(lambda: results.append(bench.manager.force("a", "offload", 10)))
        until(lambda: bench.view("a").draining)
        bench.clock.advance(10)
        thread.join(10)
    assert results[0].skipped == [Skipped("a", 1, "in_use")]
    assert not bench.view("a").draining


def test_newcomers_queue_behind_a_forced_move_instead_of_delaying_it(bench: Bench) -> None:
    bench.register("a", concurrency=8)
    lease = bench.manager.acquire("a")
    results: list[ForceResult] = []
    mover = in_thread(lambda: results.append(bench.manager.force("a", "offload", 10)))
    until(lambda: bench.view("a").draining)
    late = bench.manager.request("a")
    assert late.lease is None
    lease.release()
    mover.join(10)
    assert results[0].offloaded == ["a"]
    assert late.lease is not None  # restored for it
    assert late.lease.model.use() == "a"


def test_those_who_queued_behind_a_move_that_was_given_up_are_served(bench: Bench) -> None:
    bench.register("a", concurrency=8)
    with bench.manager.acquire("a"):
        mover = in_thread(lambda: bench.manager.force("a", "offload", 10))
        until(lambda: bench.view("a").draining)
        late = bench.manager.request("a")
        bench.clock.advance(10)
        mover.join(10)
        assert late.lease is not None


def test_two_forced_moves_of_one_model_both_end(bench: Bench) -> None:
    bench.register("a")
    lease = bench.manager.acquire("a")
    results: list[ForceResult] = []
    movers = [
        in_thread(lambda: results.append(bench.manager.force("a", "release", 10))) for _ in range(2)
    ]
    until(lambda: bench.view("a").draining)
    lease.release()
    for mover in movers:
        mover.join(10)
    assert sorted(len(result.released) for result in results) in ([0, 1], [1, 1])
    assert not bench.view("a").draining
    assert bench.use("a") == "unloaded"


def test_pinned_models_move_only_by_name(bench: Bench) -> None:
    bench.register("a", pinned=True)
    bench.use("a")
    assert bench.manager.force(None, "offload", 0).skipped == [Skipped("a", 0, "pinned")]
    assert bench.manager.force("a", "offload", 0).offloaded == ["a"]


def test_a_move_that_fails_is_reported(bench: Bench) -> None:
    bench.register("a")
    bench.use("a")
    bench.world.faults.append(("offload", "a"))
    assert bench.manager.force("a", "offload", 0).skipped == [Skipped("a", 0, "failed")]


def test_releasing_a_failed_model_ends_its_backoff(bench: Bench) -> None:
    bench.register("a")
    bench.world.faults.append(("load", "a"))
    with pytest.raises(LoadFailed):
        bench.manager.acquire("a")
    bench.manager.force("a", "release", 0)
    assert bench.use("a") == "unloaded"


def test_a_forced_move_lets_a_load_under_way_serve_its_waiters_first(stepped: Bench) -> None:
    stepped.register("a")
    waiter = stepped.manager.request("a")
    results: list[ForceResult] = []
    mover = in_thread(lambda: results.append(stepped.manager.force("a", "release", 10)))
    until(lambda: stepped.view("a").draining)
    stepped.jobs.run_all()
    mover_done = not mover.is_alive()
    stepped.clock.advance(10)
    mover.join(10)
    assert not mover_done
    stepped.jobs.run_all()
    assert waiter.lease is not None
    assert waiter.lease.model.use() == "a"
