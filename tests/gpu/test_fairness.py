"""Who comes first, and that nobody waits for ever."""

from __future__ import annotations

import pytest

from gpu.entry import AGEING_S, Waiter
from gpu.errors import InsufficientMemory, InvalidSpec, WaitExpired
from gpu.plan import LATCH_AFTER_S
from gpu.state import Limits, Terms
from tests.gpu.fakes import Bench, FakeToken

BATCH = Terms(batch=True)


def held(bench: Bench, model_id: str) -> Waiter:
    """A waiter that has its lease."""
    waiter = bench.manager.request(model_id)
    assert waiter.lease is not None
    return waiter


def end(waiter: Waiter) -> None:
    """Give the lease back."""
    assert waiter.lease is not None
    waiter.lease.release()


def test_an_interactive_request_passes_batch_requests_for_the_same_model(bench: Bench) -> None:
    bench.register("a")
    first = held(bench, "a")
    batch, person = bench.manager.request("a", BATCH), bench.manager.request("a")
    end(first)
    assert (batch.lease is None, person.lease is None) == (True, False)
    end(person)
    assert batch.lease is not None


def test_a_batch_request_that_has_aged_keeps_its_place(bench: Bench) -> None:
    bench.register("a")
    first = held(bench, "a")
    batch = bench.manager.request("a", BATCH)
    bench.clock.advance(AGEING_S)
    person = bench.manager.request("a")
    end(first)
    assert (batch.lease is None, person.lease is None) == (False, True)


def test_an_interactive_request_is_loaded_before_batch_requests() -> None:
    bench = Bench(budget_bytes=10)
    bench.register("a", "b", "c", nbytes_estimate=10)
    first = held(bench, "a")
    batch, person = bench.manager.request("b", BATCH), bench.manager.request("c")
    end(first)
    assert (batch.lease is None, person.lease is None) == (True, False)


def two_for_one_place() -> Bench:
    """`a` is in use without a break; `b` needs its bytes."""
    bench = Bench(budget_bytes=10)
    bench.register("a", "b", nbytes_estimate=10, concurrency=2)
    return bench


def test_newcomers_may_use_a_busy_model_until_a_load_has_waited_for_15_s() -> None:
    bench = two_for_one_place()
    held(bench, "a")
    bench.manager.request("b")
    bench.clock.advance(LATCH_AFTER_S - 0.1)
    bench.manager.run_due()
    assert bench.manager.request("a").lease is not None


def test_after_that_they_wait_behind_it_and_come_back_after_it() -> None:
    bench = two_for_one_place()
    first, waiting = held(bench, "a"), bench.manager.request("b")
    bench.clock.advance(LATCH_AFTER_S)
    bench.manager.run_due()
    late = bench.manager.request("a")
    assert (late.lease, bench.view("a").latched) == (None, True)
    end(first)
    assert waiting.lease is not None
    assert late.lease is None
    end(waiting)
    assert late.lease is not None
    assert late.lease.model.use() == "a"


def test_a_load_that_is_given_up_lets_newcomers_in_again() -> None:
    bench = two_for_one_place()
    first, waiting = held(bench, "a"), bench.manager.request("b")
    bench.clock.advance(LATCH_AFTER_S)
    bench.manager.run_due()
    late = bench.manager.request("a")
    bench.manager.withdraw(waiting)
    assert late.lease is not None
    assert not bench.view("a").latched
    end(first)


def test_who_waits_for_a_latched_model_is_served_when_its_offload_is_called_off() -> None:
    bench = Bench(budget_bytes=10, inline=False)
    bench.register("a", "b", nbytes_estimate=10, concurrency=2)
    first = bench.manager.request("a")
    bench.jobs.run_all()
    waiting = bench.manager.request("b")
    bench.clock.advance(LATCH_AFTER_S)
    bench.manager.run_due()
    early = bench.manager.request("a")
    end(first)  # "a" begins to leave
    bench.manager.withdraw(waiting)
    late = bench.manager.request("a")  # it stays after all
    assert (early.lease is not None, late.lease is not None) == (True, True)
    bench.jobs.run_all()
    assert early.lease is not None
    assert early.lease.model.use() == "a"


def test_a_load_that_is_refused_lets_newcomers_in_again() -> None:
    bench = two_for_one_place()
    first, waiting = held(bench, "a"), bench.manager.request("b")
    bench.clock.advance(LATCH_AFTER_S)
    bench.manager.run_due()
    late = bench.manager.request("a")
    bench.manager.set_pinned("a", True)  # now "b" can never fit
    assert isinstance(waiting.error, InsufficientMemory)
    assert late.lease is not None
    end(first)


def test_a_request_leaves_the_queue_at_its_deadline(bench: Bench) -> None:
    bench.register("a")
    held(bench, "a")
    token = FakeToken(bench.clock, timeout_s=5.0)
    waiter = bench.manager.request("a", token=token)
    bench.clock.advance(4.99)
    bench.manager.run_due()
    assert waiter.error is None
    bench.clock.advance(0.01)
    bench.manager.run_due()
    assert isinstance(waiter.error, WaitExpired)
    assert bench.view("a").waiting == 0


def test_a_lease_that_lasts_too_long_is_counted_once_and_its_request_cancelled() -> None:
    bench = Bench(limits=Limits(lease_s=60))
    bench.register("a")
    token = FakeToken(bench.clock)
    waiter = bench.manager.request("a", token=token)
    bench.clock.advance(60.0)
    bench.manager.run_due()
    assert not token.cancelled
    for _ in range(2):
        bench.clock.advance(0.1)
        bench.manager.run_due()
    assert token.cancelled
    assert bench.view("a").counters.overdue == 1
    assert waiter.lease is not None
    assert waiter.lease.model.use() == "a"  # its bytes are never taken from under it


def test_keep_alive_takes_the_place_of_the_offload_timer_after_that_lease(bench: Bench) -> None:
    bench.register("a", offload_after_s=60, release_after_s=600)
    with bench.manager.acquire("a", terms=Terms(keep_alive_s=5)):
        pass
    bench.clock.advance(5)
    assert bench.manager.run_due() == 1
    assert bench.state("a") == "offloaded"
    with bench.manager.acquire("a"):
        pass
    bench.clock.advance(59)
    assert bench.manager.run_due() == 0


def test_keep_alive_zero_moves_the_model_away_at_once(bench: Bench) -> None:
    bench.register("a", offload_after_s=60)
    with bench.manager.acquire("a", terms=Terms(keep_alive_s=0)):
        pass
    assert bench.manager.run_due() == 1


def test_keep_alive_for_ever_outlasts_the_release_timer_too(bench: Bench) -> None:
    bench.register("a", offload_after_s=60, release_after_s=600)
    with bench.manager.acquire("a", terms=Terms(keep_alive_s=-1)):
        pass
    bench.clock.advance(1e9)
    assert bench.manager.run_due() == 0


def test_keep_alive_may_be_longer_than_the_release_timer(bench: Bench) -> None:
    bench.register("a", offload_after_s=60, release_after_s=600)
    with bench.manager.acquire("a", terms=Terms(keep_alive_s=1000)):
        pass
    bench.clock.advance(999)
    assert bench.manager.run_due() == 0
    bench.clock.advance(1)
    assert bench.manager.run_due() == 1


@pytest.mark.parametrize("value", [-2.0, float("nan")])
def test_other_values_of_keep_alive_are_refused(value: float) -> None:
    with pytest.raises(InvalidSpec, match="keep_alive_s"):
        Terms(keep_alive_s=value)


def test_a_model_may_be_pinned_and_unpinned_while_it_is_there() -> None:
    bench = Bench(budget_bytes=10)
    bench.register("a", "b", nbytes_estimate=10, offload_after_s=0)
    bench.use("a")
    bench.manager.set_pinned("a", True)
    assert bench.manager.run_due() == 0
    assert bench.view("a").pinned
    bench.manager.set_pinned("a", False)
    assert bench.use("b") == "unloaded"
    assert bench.state("a") == "offloaded"


def test_the_oldest_voice_leaves_when_more_than_allowed_are_in_memory() -> None:
    bench = Bench(limits=Limits(counted_models=2))
    bench.register("a", "b", "c", counted=True)
    bench.register("shared")
    for model_id in ("shared", "a", "b", "a", "c"):
        bench.clock.advance(1)
        bench.use(model_id)
    assert [bench.state(i) for i in ("shared", "a", "b", "c")] == [
        *("ready", "ready", "unloaded", "ready")
    ]
    assert bench.world.alive("b") == 0


def test_a_voice_too_many_leaves_as_soon_as_its_lease_ends() -> None:
    bench = Bench(limits=Limits(counted_models=1))
    bench.register("a", "b", counted=True)
    first = held(bench, "a")
    bench.clock.advance(1)
    second = held(bench, "b")
    end(first)
    assert (bench.state("a"), bench.state("b")) == ("unloaded", "ready")
    end(second)
    assert bench.state("b") == "ready"


def test_host_memory_is_bounded() -> None:
    bench = Bench(limits=Limits(host_bytes=15))
    bench.register("a", "b", offload_after_s=0)
    bench.use("a")
    bench.manager.run_due()
    assert bench.state("a") == "offloaded"
    bench.clock.advance(1)
    bench.use("b")
    bench.manager.run_due()
    assert (bench.state("a"), bench.state("b")) == ("unloaded", "offloaded")
