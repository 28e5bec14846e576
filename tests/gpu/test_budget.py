"""What is on the device never exceeds the budget; idle models make room for wanted ones."""

from __future__ import annotations

import pytest

from gpu.errors import InsufficientMemory
from tests.gpu.fakes import Bench


def budgeted(n_bytes: int, inline: bool = True) -> Bench:
    bench = Bench(budget_bytes=n_bytes, inline=inline)
    bench.register("a", "b", "c", nbytes_estimate=10)
    return bench


def test_the_least_recently_used_model_is_offloaded_to_make_room() -> None:
    bench = budgeted(20)
    for model_id in "abac":
        bench.clock.advance(1)
        bench.use(model_id)
    assert [bench.state(model_id) for model_id in "abc"] == ["ready", "offloaded", "ready"]
    assert bench.view("b").counters.evictions == 1
    assert bench.use("b") == "offloaded"


def test_a_load_waits_for_a_busy_model_and_starts_when_it_is_free() -> None:
    bench = budgeted(10)
    lease = bench.manager.acquire("a")
    waiter = bench.manager.request("b")
    assert waiter.lease is None
    assert (bench.state("b"), lease.model.use()) == ("unloaded", "a")
    lease.release()
    assert waiter.lease is not None
    assert (bench.state("a"), bench.state("b")) == ("offloaded", "ready")


def test_a_model_on_the_device_is_served_while_another_waits_for_memory() -> None:
    bench = budgeted(10)
    bench.register("a", nbytes_estimate=10, concurrency=4)
    with bench.manager.acquire("a"):
        bench.manager.request("b")
        assert bench.manager.request("a").lease is not None


def test_a_later_load_that_fits_passes_one_that_waits_for_busy_models() -> None:
    bench = budgeted(20)
    bench.world.sizes["big"] = 20
    bench.register("big", nbytes_estimate=20)
    with bench.manager.acquire("a"):
        big = bench.manager.request("big")
        assert bench.use("b") == "unloaded"
        assert big.lease is None
    assert big.lease is not None


def test_a_later_load_does_not_take_bytes_that_are_on_their_way_to_an_earlier_one() -> None:
    bench = budgeted(20, inline=False)
    bench.world.sizes["big"] = 20
    bench.register("big", nbytes_estimate=20)
    first = bench.manager.request("a")
    bench.jobs.run_all()
    assert first.lease is not None
    first.lease.release()
    big = bench.manager.request("big")  # "a" is on its way out
    late = bench.manager.request("b")
    assert bench.jobs.names() == ["gpu-offload-a"]
    bench.jobs.run_all()
    assert big.lease is not None
    assert late.lease is None


def test_a_later_load_does_not_take_the_rest_while_an_earlier_one_evicts() -> None:
    bench = Bench(budget_bytes=50, inline=False)
    for model_id, size in {"old": 20, "e": 10, "busy": 10, "h1": 30, "h2": 40, "f": 10}.items():
        bench.world.sizes[model_id] = size
        bench.register(model_id, nbytes_estimate=size)
    for model_id in ("old", "e", "busy"):
        waiter = bench.manager.request(model_id)
        bench.jobs.run_all()
        if model_id != "busy":
            bench.manager.withdraw(waiter)
        bench.clock.advance(1)
    first = bench.manager.request("h1")  # "old" leaves for it
    second, third = bench.manager.request("h2"), bench.manager.request("f")
    bench.manager.withdraw(first)  # now "e" leaves too, for the second
    bench.jobs.run_all()
    assert second.lease is not None
    assert third.lease is None


def test_a_model_that_can_never_fit_is_refused_at_once() -> None:
    bench = budgeted(20)
    bench.register("huge", nbytes_estimate=21)
    with pytest.raises(InsufficientMemory) as caught:
        bench.manager.acquire("huge")
    assert caught.value.code == "insufficient_memory"
    assert bench.world.events == []
    assert bench.state("huge") == "unloaded"


def test_a_model_found_too_big_after_loading_is_refused_and_then_known() -> None:
    bench = budgeted(20)
    bench.world.sizes["liar"] = 21
    bench.register("liar", nbytes_estimate=1)
    for _ in range(2):
        with pytest.raises(InsufficientMemory):
            bench.manager.acquire("liar")
    assert bench.world.count("load", "liar") == 1
    assert bench.manager.snapshot().ledger_bytes == 0


def test_a_model_bigger_than_promised_waits_in_host_memory_for_its_true_size() -> None:
    bench = budgeted(20)
    bench.world.sizes["liar"] = 15
    bench.register("liar", nbytes_estimate=5)
    with bench.manager.acquire("a"):
        waiter = bench.manager.request("liar")
        assert waiter.lease is None
        assert bench.state("liar") == "offloaded"
        assert bench.manager.snapshot().ledger_bytes == 10
    assert waiter.lease is not None
    assert (bench.state("a"), bench.world.count("load", "liar")) == ("offloaded", 1)


def test_a_model_bigger_than_promised_is_not_lent_on_its_way_to_host_memory() -> None:
    bench = Bench(budget_bytes=20, inline=False)
    bench.world.sizes["liar"] = 15
    bench.register("a", nbytes_estimate=10)
    bench.register("liar", nbytes_estimate=5)
    bench.manager.request("a")
    bench.manager.request("liar")
    bench.jobs.run()
    bench.jobs.run()
    assert bench.jobs.names() == ["gpu-offload-liar"]
    assert bench.manager.request("liar").lease is None
    assert bench.state("liar") == "offloading"


def test_a_model_smaller_than_promised_leaves_the_rest_to_others() -> None:
    bench = budgeted(20)
    bench.world.sizes["small"] = 5
    bench.register("small", nbytes_estimate=20)
    bench.use("small")
    assert bench.manager.snapshot().ledger_bytes == 5


def test_pinned_models_are_not_evicted() -> None:
    bench = Bench(budget_bytes=20)
    bench.register("p", nbytes_estimate=10, pinned=True)
    bench.register("a", "b", nbytes_estimate=10)
    for model_id in "pab":
        bench.use(model_id)
    assert [bench.state(model_id) for model_id in "pab"] == ["ready", "offloaded", "ready"]


def test_a_waiter_for_memory_that_gives_up_lets_the_next_make_room_at_once() -> None:
    bench = budgeted(20)
    bench.world.sizes["big"] = 20
    bench.register("big", nbytes_estimate=20)
    bench.use("b")
    with bench.manager.acquire("a"):
        big = bench.manager.request("big")  # needs "a" to end
        late = bench.manager.request("c")  # must not take what "big" could use
        assert (big.lease, late.lease) == (None, None)
        bench.manager.withdraw(big)
        assert late.lease is not None
    assert bench.world.count("load", "big") == 0


def test_a_failed_load_gives_its_bytes_to_the_next() -> None:
    bench = budgeted(10, inline=False)
    bench.world.faults.append(("load", "a"))
    first, second = bench.manager.request("a"), bench.manager.request("b")
    bench.jobs.run_all()
    assert first.error is not None
    assert second.lease is not None
