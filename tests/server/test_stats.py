from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.stats import N_RECENT, Spent, Tally, quantiles


def test_what_devices_have_done_adds_up() -> None:
    tally = Tally(clock=lambda: 7.0)
    for device, run in ((0, 1.0), (0, 3.0), (1, 5.0)):
        tally.note_done(device, Spent(queue=1.0, run=run, total=run + 1))
    tally.note_failed("rejected", "queue_full")
    tally.note_failed("invalid")
    view = tally.view()
    assert (view.since, view.completed, view.failed) == (7.0, 3, 2)
    assert view.rejected == {"queue_full": 1}
    assert {i: (d.completed, d.mean_run_s) for i, d in view.devices.items()} == {
        0: (2, 2.0),
        1: (1, 5.0),
    }


def test_only_the_last_ones_count_for_percentiles() -> None:
    tally = Tally()
    for n in range(N_RECENT + 5):
        tally.note_done(0, Spent(0.0, float(n), float(n)))
    view = tally.view()
    assert (len(view.recent), view.recent[0].run, view.completed) == (N_RECENT, 5.0, N_RECENT + 5)


def test_percentiles_of_a_hundred() -> None:
    assert quantiles([float(n) for n in range(1, 101)]) == {"p50": 50.0, "p90": 90.0, "p99": 99.0}
    assert quantiles([]) == {"p50": None, "p90": None, "p99": None}


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_percentiles_are_values_in_order(values: list[float]) -> None:
    found = quantiles(values)
    assert set(found.values()) <= set(values)
    p50, p90, p99 = found.values()
    assert p50 is not None
    assert p90 is not None
    assert p99 is not None
    assert p50 <= p90 <= p99
    assert sum(v <= p50 for v in values) >= len(values) / 2


def test_one_value_is_all_percentiles() -> None:
    assert quantiles([2.0]) == pytest.approx({"p50": 2.0, "p90": 2.0, "p99": 2.0})
