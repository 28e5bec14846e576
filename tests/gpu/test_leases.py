"""A lease is the only way to a model, and keeps it."""

from __future__ import annotations

import threading

import pytest

from gpu.errors import LeaseReleased, LoadBackoff, LoadFailed, ModelNotFound
from gpu.state import Terms
from tests.gpu.fakes import Bench, FakeToken, in_thread, until


def test_the_first_lease_loads_the_model_and_the_second_finds_it_ready(bench: Bench) -> None:
    bench.register("a")
    assert [bench.use("a"), bench.use("a")] == ["unloaded", "ready"]
    assert bench.world.count("load", "a") == 1


def test_a_lease_gives_its_model_until_it_is_released(bench: Bench) -> None:
    bench.register("a")
    lease = bench.manager.acquire("a")
    assert lease.model.use() == "a"
    lease.release()
    assert lease.released
    with pytest.raises(LeaseReleased):
        lease.model  # noqa: B018
    with pytest.raises(LeaseReleased), lease:
        pass


def test_releasing_twice_gives_back_once(bench: Bench) -> None:
    bench.register("a", concurrency=2)
    first, second = bench.manager.acquire("a"), bench.manager.acquire("a")
    first.release()
    first.release()
    assert bench.view("a").leases == 1
    second.release()
    assert bench.view("a").leases == 0


def test_a_lease_is_released_when_its_block_raises(bench: Bench) -> None:
    bench.register("a")
    with pytest.raises(ZeroDivisionError), bench.manager.acquire("a"):
        _ = 1 / 0
    assert bench.view("a").leases == 0


def test_an_unknown_model_is_refused(bench: Bench) -> None:
    with pytest.raises(ModelNotFound) as caught:
        bench.manager.acquire("nobody")
    assert caught.value.code == "model_not_found"


def test_many_requests_for_an_unloaded_model_make_one_load(stepped: Bench) -> None:
    stepped.register("a", concurrency=64)
    waiters = [stepped.manager.request("a") for _ in range(64)]
    assert len(stepped.jobs.names()) == 1
    stepped.jobs.run_all()
    assert stepped.world.count("load", "a") == 1
    assert all(waiter.lease is not None for waiter in waiters)


def test_real_threads_share_one_load_and_one_model() -> None:
    bench = Bench()
    ready = threading.Barrier(16, timeout=10)
    seen: list[int] = []
    bench.register("a", concurrency=16)

    def work() -> None:
        ready.wait()
        with bench.manager.acquire("a") as model:
            seen.append(id(model))
            ready.wait()  # all hold it at once

    for thread in [in_thread(work) for _ in range(16)]:
        thread.join(10)
    assert len(seen) == 16
    assert len(set(seen)) == 1
    assert bench.world.count("load", "a") == 1


def test_a_failed_load_gives_every_waiter_the_same_cause(stepped: Bench) -> None:
    stepped.register("a")
    stepped.world.faults.append(("load", "a"))
    waiters = [stepped.manager.request("a") for _ in range(3)]
    stepped.jobs.run_all()
    errors = [waiter.error for waiter in waiters]
    assert all(isinstance(error, LoadFailed) for error in errors)
    assert len({id(error.cause) for error in errors if error}) == 1
    assert len({id(error) for error in errors}) == 3
    assert stepped.world.count("load", "a") == 1


def test_a_failed_load_names_its_cause_and_keeps_no_frames(bench: Bench) -> None:
    bench.register("a")
    bench.world.faults.append(("load", "a"))
    with pytest.raises(LoadFailed, match="load fault in a") as caught:
        bench.manager.acquire("a")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert caught.value.__cause__.__traceback__ is None
    assert bench.state("a") == "failed"


def test_after_a_failure_requests_are_refused_at_once_until_the_backoff_is_over(
    bench: Bench,
) -> None:
    bench.register("a")
    for expected_s in (1.0, 2.0, 4.0, 8.0):
        bench.world.faults.append(("load", "a"))
        with pytest.raises(LoadFailed):
            bench.manager.acquire("a")
        loads = bench.world.count("load", "a")
        bench.clock.advance(expected_s - 0.25)
        with pytest.raises(LoadBackoff) as caught:
            bench.manager.acquire("a")
        assert caught.value.retry_after_s == pytest.approx(0.25)
        assert isinstance(caught.value.cause, RuntimeError)
        assert bench.world.count("load", "a") == loads
        bench.clock.advance(0.25)
    assert bench.use("a") == "unloaded"


def test_a_good_load_forgets_earlier_failures(bench: Bench) -> None:
    bench.register("a", release_after_s=0)
    bench.world.faults.append(("load", "a"))
    with pytest.raises(LoadFailed):
        bench.manager.acquire("a")
    bench.clock.advance(1)
    bench.use("a")
    bench.manager.run_due()
    bench.world.faults.append(("load", "a"))
    with pytest.raises(LoadFailed):
        bench.manager.acquire("a")
    backoff_until = bench.view("a").backoff_until
    assert backoff_until == bench.clock() + 1.0


def test_a_loader_that_exits_leaves_no_waiter_behind(stepped: Bench) -> None:
    def leave() -> None:
        raise SystemExit(3)

    stepped.register("a")
    stepped.world.during.append(("load", "a", leave))
    waiter = stepped.manager.request("a")
    with pytest.raises(SystemExit):
        stepped.jobs.run_all()
    assert isinstance(waiter.error, LoadFailed)


def test_requests_for_one_model_are_served_in_order(stepped: Bench) -> None:
    stepped.register("a", concurrency=1)
    waiters = [stepped.manager.request("a", Terms(f"r{n}")) for n in range(4)]
    stepped.jobs.run_all()
    served = []
    for _ in waiters:
        (current,) = [w for w in waiters if w.lease is not None and not w.lease.released]
        served.append(current.terms.holder)
        assert current.lease is not None
        current.lease.release()
    assert served == ["r0", "r1", "r2", "r3"]


def test_a_model_is_used_by_no_more_than_its_concurrency(stepped: Bench) -> None:
    stepped.register("a", concurrency=2)
    waiters = [stepped.manager.request("a") for _ in range(5)]
    stepped.jobs.run_all()
    assert [w.lease is not None for w in waiters] == [True, True, False, False, False]
    assert (stepped.view("a").leases, stepped.view("a").waiting) == (2, 3)


def test_a_newcomer_does_not_overtake_those_who_wait(stepped: Bench) -> None:
    stepped.register("a", concurrency=1)
    first, second = stepped.manager.request("a"), stepped.manager.request("a")
    stepped.jobs.run_all()
    third = stepped.manager.request("a")
    assert first.lease is not None
    first.lease.release()
    assert (second.lease is not None, third.lease is not None) == (True, False)


def test_a_request_past_its_deadline_leaves_the_queue(bench: Bench) -> None:
    bench.register("a")
    lease = bench.manager.acquire("a")
    token = FakeToken(bench.clock, timeout_s=5)
    failed = threading.Event()

    def wait_in_vain() -> None:
        with pytest.raises(TimeoutError):
            bench.manager.acquire("a", token)
        failed.set()

    thread = in_thread(wait_in_vain)
    until(lambda: bench.view("a").waiting == 1)
    bench.clock.advance(5)
    assert failed.wait(10)
    thread.join(10)
    assert bench.view("a").waiting == 0
    lease.release()
    assert bench.use("a") == "ready"


def test_a_cancelled_request_leaves_the_queue(bench: Bench) -> None:
    bench.register("a")
    token = FakeToken(bench.clock)
    raised: list[BaseException] = []

    def wait_in_vain() -> None:
        try:
            bench.manager.acquire("a", token)
        except InterruptedError as error:
            raised.append(error)

    with bench.manager.acquire("a"):
        thread = in_thread(wait_in_vain)
        until(lambda: bench.view("a").waiting == 1)
        token.cancelled = True
        thread.join(10)
        assert len(raised) == 1
        assert bench.view("a").waiting == 0


def test_a_request_that_is_over_does_not_even_queue(bench: Bench) -> None:
    bench.register("a")
    token = FakeToken(bench.clock)
    token.cancelled = True
    with pytest.raises(InterruptedError):
        bench.manager.acquire("a", token)
    assert bench.world.events == []


def test_a_lease_granted_to_someone_who_has_given_up_goes_back(stepped: Bench) -> None:
    stepped.register("a")
    waiter = stepped.manager.request("a")
    stepped.jobs.run_all()
    assert stepped.view("a").leases == 1
    stepped.manager.withdraw(waiter)
    assert stepped.view("a").leases == 0


def test_a_load_nobody_waits_for_any_more_ends_and_starts_its_timer(stepped: Bench) -> None:
    stepped.register("a", offload_after_s=5)
    waiter = stepped.manager.request("a")
    stepped.manager.withdraw(waiter)
    stepped.jobs.run_all()
    assert stepped.state("a") == "ready"
    stepped.clock.advance(5)
    assert stepped.manager.run_due() == 1


def test_a_lease_says_what_it_waited_for(stepped: Bench) -> None:
    stepped.register("a", concurrency=1)
    stepped.world.during.append(("load", "a", lambda: stepped.clock.advance(3)))
    first, second = stepped.manager.request("a"), stepped.manager.request("a")
    stepped.clock.advance(1)  # before the load's thread gets to run
    stepped.jobs.run_all()
    assert first.lease is not None
    assert (first.lease.waited_s, first.lease.load_s) == (4, 4)
    stepped.clock.advance(10)
    first.lease.release()
    assert second.lease is not None
    assert (second.lease.waited_s, second.lease.load_s) == (14, 4)
    second.lease.release()
    third = stepped.manager.request("a").lease
    assert third is not None
    assert (third.state_at_arrival, third.waited_s, third.load_s) == ("ready", 0, 0)


def test_a_lease_held_by_a_forgotten_generator_comes_back(bench: Bench) -> None:
    bench.register("a")

    def stream() -> object:
        with bench.manager.acquire("a") as model:
            yield model.use()

    chunks = iter(stream())  # type: ignore[call-overload]
    next(chunks)
    assert bench.view("a").leases == 1
    del chunks
    assert bench.view("a").leases == 0
