"""Back-off and circuit for workers that die, without processes or a clock."""

from __future__ import annotations

from gpu.restarts import CIRCUIT_DEATHS, FORGET_S, OPEN_S, Restarts


def test_the_first_restart_is_at_once_and_the_next_ones_wait_twice_as_long_each() -> None:
    restarts = Restarts()
    assert [restarts.died(now) for now in (0.0, 1.0, 2.0, 3.0)] == [0.0, 1.0, 2.0, 4.0]


def test_the_wait_ends_at_thirty_seconds() -> None:
    restarts = Restarts()
    every_200_s = [restarts.died(200.0 * n) for n in range(2000)]  # never five in ten minutes
    assert every_200_s[:9] == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert every_200_s[-1] == 30.0


def test_deaths_more_than_ten_minutes_apart_are_strangers() -> None:
    restarts = Restarts()
    restarts.died(0.0)
    assert restarts.died(FORGET_S) == 1.0
    assert restarts.died(2 * FORGET_S + 0.1) == 0.0


def test_the_fifth_death_within_ten_minutes_opens_the_circuit() -> None:
    restarts = Restarts()
    for n in range(CIRCUIT_DEATHS - 1):
        assert restarts.died(float(n)) is not None
    assert restarts.died(FORGET_S) is None


def test_five_deaths_in_more_than_ten_minutes_do_not_open_it() -> None:
    restarts = Restarts()
    for n in range(CIRCUIT_DEATHS - 1):
        restarts.died(float(n))
    assert restarts.died(FORGET_S + 0.1) == 8.0


def test_after_an_open_circuit_one_try_that_dies_opens_it_again() -> None:
    restarts, opened = opened_circuit()
    tried = opened + OPEN_S
    assert restarts.died(tried + 1.0) is None
    assert restarts.died(tried + 1.0 + OPEN_S + 1.0) is None


def test_a_try_that_lives_for_ten_minutes_closes_the_circuit() -> None:
    restarts, opened = opened_circuit()
    assert restarts.died(opened + OPEN_S + FORGET_S + 1.0) == 0.0
    assert restarts.died(opened + OPEN_S + FORGET_S + 2.0) == 1.0


def opened_circuit() -> tuple[Restarts, float]:
    """Restarts whose circuit opened, and when."""
    restarts = Restarts()
    for n in range(CIRCUIT_DEATHS):
        restarts.died(float(n))
    return restarts, CIRCUIT_DEATHS - 1.0
