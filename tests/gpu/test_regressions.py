"""Public defects of other managers, as traces that this one must survive."""

from __future__ import annotations

from gpu.entry import Waiter
from gpu.errors import GpuError
from gpu.force import Skipped
from tests.gpu.fakes import Bench


def test_speaches_a_refused_unload_does_not_make_the_next_request_load_a_second_copy(
    bench: Bench,
) -> None:
    """There the entry was deleted before the unload was refused."""
    bench.register("a", concurrency=2)
    with bench.manager.acquire("a") as held:
        refused = bench.manager.force("a", "release", 0)
        assert refused.skipped == [Skipped("a", 1, "in_use")]
        with bench.manager.acquire("a") as second:
            assert second is held
    assert bench.world.count("load", "a") == 1
    assert bench.manager.force("a", "release", 0).released == ["a"]


def test_ray_62543_a_request_during_a_load_joins_it(stepped: Bench) -> None:
    """There a hit took the entry out and put it back; a request in between loaded again."""
    stepped.register("a", concurrency=3)
    first = stepped.manager.request("a")
    joined = []
    stepped.world.during.append(("load", "a", lambda: joined.append(stepped.manager.request("a"))))
    stepped.jobs.run_all()
    hit = stepped.manager.request("a")
    leases = [waiter.lease for waiter in (first, *joined, hit)]
    assert len({id(lease.model) for lease in leases if lease}) == 1
    assert (len(leases), stepped.world.count("load", "a")) == (3, 1)


def test_ray_65825_a_fresh_model_cannot_be_evicted_before_its_requester_has_it() -> None:
    """There the end of a load woke a loader in need of room before the request got its model."""
    bench = Bench(budget_bytes=10, inline=False)
    bench.register("a", "b", nbytes_estimate=10)
    first, second = bench.manager.request("a"), bench.manager.request("b")
    bench.jobs.run()  # the load of "a" ends while "b" waits for its bytes
    assert bench.jobs.names() == []
    assert first.lease is not None
    assert first.lease.model.use() == "a"
    first.lease.release()
    bench.jobs.run_all()
    assert second.lease is not None
    assert bench.world.count("load", "a") == 1


def _b_waits_for_the_bytes_of_a(bench: Bench) -> None:
    bench.register("a", "b", "c", nbytes_estimate=10)
    for model_id in "ac":
        waiter = bench.manager.request(model_id)
        bench.jobs.run_all()
        assert waiter.lease is not None
        waiter.lease.release()
        bench.clock.advance(1)


def test_ollama_17408_a_victim_taken_back_makes_the_waiting_load_choose_another() -> None:
    """There the load waited for ever for an unload that had been called off."""
    bench = Bench(budget_bytes=20, inline=False)
    _b_waits_for_the_bytes_of_a(bench)
    waiting = bench.manager.request("b")
    assert bench.jobs.names() == ["gpu-offload-a"]
    back = bench.manager.request("a")  # before the storage was dropped
    assert back.lease is not None
    assert back.state_at_arrival == "ready"
    bench.jobs.run_all()
    assert back.lease.model.use() == "a"
    assert (bench.state("c"), bench.world.count("offload", "a")) == ("offloaded", 0)
    assert waiting.lease is not None


def test_ollama_17408_the_load_goes_on_when_the_only_victim_comes_free_again() -> None:
    bench = Bench(budget_bytes=10, inline=False)
    bench.register("a", "b", nbytes_estimate=10)
    first = bench.manager.request("a")
    bench.jobs.run_all()
    assert first.lease is not None
    first.lease.release()
    waiting = bench.manager.request("b")
    back = bench.manager.request("a")
    bench.jobs.run_all()
    assert waiting.lease is None
    assert back.lease is not None
    back.lease.release()
    bench.jobs.run_all()
    assert waiting.lease is not None


def test_an_acquire_after_the_storage_is_going_waits_for_the_restore(stepped: Bench) -> None:
    """The other side of 17408: past the point of no return nobody may use the model."""
    stepped.register("a", offload_after_s=0)
    stepped.manager.withdraw(stepped.manager.request("a"))
    stepped.jobs.run_all()
    late = []
    stepped.world.during.append(("offload", "a", lambda: late.append(stepped.manager.request("a"))))
    stepped.manager.run_due()
    assert late[0].lease is None
    stepped.jobs.run_all()
    assert late[0].lease is not None
    assert late[0].lease.model.use() == "a"
    assert late[0].state_at_arrival == "offloaded"


def test_ollama_15126_requests_for_models_on_the_device_do_not_wait_for_an_eviction() -> None:
    """There one blocked load stopped the whole queue."""
    bench = Bench(budget_bytes=20, inline=False)
    _b_waits_for_the_bytes_of_a(bench)
    bench.manager.request("b")
    assert bench.manager.request("c").lease is not None


def test_localai_10719_a_polling_client_does_not_retrigger_a_failing_load(bench: Bench) -> None:
    """There each poll started the failing load again."""
    bench.register("a")
    bench.world.faults += [("load", "a")] * 100
    errors = []
    for _ in range(100):  # one poll each tenth of a second
        try:
            bench.manager.acquire("a")
        except GpuError as error:
            errors.append(error)
        bench.clock.advance(0.1)
    codes = [error.code for error in errors]
    assert (codes.count("load_failed"), codes.count("load_backoff")) == (4, 96)
    assert bench.world.count("load", "a") == 4  # after 0, 1, 3 and 7 s


def test_ollama_14407_continuous_traffic_cannot_keep_a_load_waiting_for_ever() -> None:
    """There requests for the busy model kept its count above zero, and the other one waiting."""
    bench = Bench(budget_bytes=10)
    bench.register("a", "b", nbytes_estimate=10, concurrency=2)
    users = [bench.manager.request("a")]
    waiting = bench.manager.request("b")
    for _ in range(20):  # each second one comes before the last one goes
        users.append(bench.manager.request("a"))
        bench.clock.advance(1)
        bench.manager.run_due()
        if users[0].lease is not None:
            users.pop(0).lease.release()  # type: ignore[union-attr]
    assert waiting.lease is not None
    assert all(user.lease is None for user in users)
    waiting.lease.release()
    assert users[0].lease is not None


def test_llama_swap_946_a_request_in_the_midst_of_a_timers_unload_is_served_after_it(
    stepped: Bench,
) -> None:
    """There such a race left the group deaf: every later request hung without any load."""
    stepped.register("a", release_after_s=5, offload_after_s=-1)
    stepped.manager.withdraw(stepped.manager.request("a"))
    stepped.jobs.run_all()
    stepped.clock.advance(5)
    racing: list[Waiter] = []
    freed = stepped.freed.append

    def in_the_midst(n_bytes: int) -> None:
        freed(n_bytes)
        racing.append(stepped.manager.request("a"))

    stepped.manager._moves._effects._after_free = in_the_midst  # type: ignore[attr-defined]
    assert stepped.manager.run_due() == 1
    stepped.jobs.run_all()
    later = stepped.manager.request("a")
    assert racing[0].lease is not None
    racing[0].lease.release()
    assert later.lease is not None
    assert stepped.world.count("load", "a") == 2
