"""What a device counts in all: models come and go, the sums stay."""

from __future__ import annotations

from dataclasses import asdict

from tests.gpu.fakes import Bench


def test_totals_are_the_sums_of_all_models() -> None:
    bench = Bench(budget_bytes=10)
    bench.register("a", "b")
    for model_id in ("a", "b", "a"):
        bench.use(model_id)
    snapshot = bench.manager.snapshot()
    sums = {
        name: sum(getattr(view.counters, name) for view in snapshot.models)
        for name in asdict(snapshot.totals)
    }
    assert asdict(snapshot.totals) == sums
    assert sums["loads"] == sums["evictions"] == 2


def test_totals_keep_what_a_forgotten_model_had_counted() -> None:
    bench = Bench()
    bench.register("a")
    bench.use("a")
    bench.manager.unregister("a")
    snapshot = bench.manager.snapshot()
    assert snapshot.models == ()
    assert (snapshot.totals.loads, snapshot.totals.releases) == (1, 1)


def test_work_that_runs_out_of_memory_is_nobodys_but_the_devices() -> None:
    bench = Bench()
    bench.register("a")
    bench.use("a")
    bench.manager.make_room()
    assert bench.manager.snapshot().totals.out_of_memory == 1
    assert bench.view("a").counters.out_of_memory == 0
