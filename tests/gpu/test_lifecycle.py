"""Models are replaced and removed under their holders, and the manager shuts down."""

from __future__ import annotations

import threading

import pytest

from gpu.errors import Draining, ModelNotFound
from gpu.force import ForceResult, Skipped
from tests.gpu.fakes import Bench, in_thread, until


def test_holders_of_a_replaced_model_finish_on_the_old_one(bench: Bench) -> None:
    bench.register("a")
    with bench.manager.acquire("a") as old:
        bench.register("a")
        with bench.manager.acquire("a") as new:
            assert new is not old
            assert (new.use(), old.use()) == ("a", "a")
        assert len(bench.manager.snapshot().models) == 2
    del old
    assert bench.world.alive("a") == 1
    assert len(bench.manager.snapshot().models) == 1
    assert bench.use("a") == "ready"


def test_an_idle_replaced_model_leaves_at_once(bench: Bench) -> None:
    bench.register("a")
    bench.use("a")
    bench.register("a")
    assert (bench.world.alive("a"), bench.state("a")) == (0, "unloaded")


def test_registering_the_same_spec_again_changes_nothing(bench: Bench) -> None:
    spec = bench.world.spec("a")
    bench.manager.register(spec)
    bench.use("a")
    bench.manager.register(spec)
    assert bench.use("a") == "ready"


def test_those_who_wait_for_a_replaced_model_get_the_new_one(stepped: Bench) -> None:
    stepped.register("a", engine="old")
    waiter = stepped.manager.request("a")
    stepped.register("a", engine="new")
    stepped.jobs.run_all()
    assert waiter.lease is not None
    assert [(v.engine, v.leases) for v in stepped.manager.snapshot().models] == [("new", 1)]
    assert stepped.world.alive("a") == 1  # the old load ended and was released


def test_a_removed_model_is_unknown_but_its_holder_keeps_it(bench: Bench) -> None:
    bench.register("a")
    with bench.manager.acquire("a") as model:
        bench.manager.unregister("a")
        with pytest.raises(ModelNotFound):
            bench.manager.acquire("a")
        assert model.use() == "a"
    del model
    assert bench.world.alive("a") == 0
    assert bench.manager.snapshot().models == ()


def test_those_who_wait_for_a_removed_model_are_told(stepped: Bench) -> None:
    stepped.register("a")
    waiter = stepped.manager.request("a")
    stepped.manager.unregister("a")
    assert isinstance(waiter.error, ModelNotFound)
    stepped.jobs.run_all()
    assert (stepped.world.alive("a"), stepped.manager.snapshot().models) == (0, ())


def test_a_model_removed_during_its_load_is_no_leak(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.register("a")
    bench.world.during.append(("load", "a", lambda: bench.manager.unregister("a")))
    with pytest.raises(ModelNotFound):
        bench.manager.acquire("a")
    assert bench.world.alive("a") == 0
    assert "still holds it" not in caplog.text


def test_a_model_removed_during_its_offload_is_released_after_it(stepped: Bench) -> None:
    stepped.register("a", offload_after_s=0)
    stepped.manager.withdraw(stepped.manager.request("a"))
    stepped.jobs.run_all()
    stepped.world.during.append(("offload", "a", lambda: stepped.manager.unregister("a")))
    stepped.manager.run_due()
    stepped.jobs.run_all()
    assert (stepped.world.alive("a"), stepped.manager.snapshot().models) == (0, ())


def test_closing_releases_everything_pinned_models_too(bench: Bench) -> None:
    bench.register("a")
    bench.register("p", pinned=True)
    bench.use("a")
    bench.use("p")
    result = bench.manager.close(0)
    assert sorted(result.released) == ["a", "p"]
    assert bench.world.alive("a") + bench.world.alive("p") == 0


def test_a_closed_manager_refuses_requests_and_models(bench: Bench) -> None:
    bench.register("a")
    bench.manager.close(0)
    with pytest.raises(Draining):
        bench.manager.acquire("a")
    with pytest.raises(Draining):
        bench.register("b")


def test_closing_waits_for_leases_and_serves_those_who_queued_before(bench: Bench) -> None:
    bench.register("a")
    lease = bench.manager.acquire("a")
    accepted = bench.manager.request("a")
    results: list[ForceResult] = []
    closer = in_thread(lambda: results.append(bench.manager.close(10)))
    until(lambda: bench.manager._books.draining)
    lease.release()
    assert accepted.lease is not None
    assert accepted.lease.model.use() == "a"
    accepted.lease.release()
    closer.join(10)
    assert results[0].released == ["a"]


def test_closing_leaves_a_model_to_its_holder_until_it_is_done(bench: Bench) -> None:
    bench.register("a")
    lease = bench.manager.acquire("a")
    waiter = bench.manager.request("a")
    assert bench.manager.close(0).skipped == [Skipped("a", 1, "in_use")]
    assert isinstance(waiter.error, Draining)
    assert lease.model.use() == "a"
    lease.release()
    assert bench.world.alive("a") == 0


def test_closing_twice_is_harmless(bench: Bench) -> None:
    bench.register("a")
    bench.use("a")
    bench.manager.close(0)
    assert bench.manager.close(0) == ForceResult()


def test_a_thread_that_waits_is_woken_by_the_close(bench: Bench) -> None:
    bench.register("a")
    refused = threading.Event()

    def wait() -> None:
        with pytest.raises(Draining):
            bench.manager.acquire("a")
        refused.set()

    with bench.manager.acquire("a"):
        thread = in_thread(wait)
        until(lambda: bench.view("a").waiting == 1)
        bench.manager.close(0)
        assert refused.wait(10)
    thread.join(10)
