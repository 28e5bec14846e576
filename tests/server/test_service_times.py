from __future__ import annotations

from server.service_times import FIRST_GUESS, ServiceTimes


def test_before_the_first_conversion_there_is_a_guess() -> None:
    assert ServiceTimes().costs == FIRST_GUESS


def test_the_means_settle_on_what_is_measured() -> None:
    times = ServiceTimes()
    for _ in range(50):
        times.note_run(9)
        times.note_load(4, restored=False)
        times.note_load(0.5, restored=True)
    costs = times.costs
    assert [round(s, 2) for s in (costs.run_s, costs.load_s, costs.restore_s)] == [9, 4, 0.5]


def test_one_odd_conversion_moves_the_mean_by_a_fifth_of_the_way() -> None:
    times = ServiceTimes()
    times.note_run(FIRST_GUESS.run_s + 100)
    assert times.costs.run_s == FIRST_GUESS.run_s + 20
