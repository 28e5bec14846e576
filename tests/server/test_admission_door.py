"""Who is let in, who is sent away and for how long, and how the house is closed."""

from __future__ import annotations

from contextlib import ExitStack
from contextvars import Context, copy_context
from functools import partial

import pytest

from rvc_core.token import Token
from server.errors import Draining, QueueFull
from tests.gpu.fakes import in_thread, until
from tests.server.house import PATIENCE_S, House, measure, refusal


def test_the_one_too_many_is_sent_away() -> None:
    house = House(1, max_waiting_per_lane=1)
    with house.admission.admit(Token()), house.admission.admit(Token()):
        assert "2 conversions" in refusal(house.admission).message
    with house.admission.admit(Token()):
        assert house.admission.n_inside == 1


def test_each_lane_that_is_up_makes_the_line_longer() -> None:
    house = House(2, 1, max_waiting_per_lane=3)
    for is_second_up, bound in ((True, 9), (False, 5)):
        house.set_lane(1, is_up=is_second_up)
        with ExitStack() as stack:
            for _ in range(bound):
                stack.enter_context(house.admission.admit(Token()))
            assert f"{bound} conversions" in refusal(house.admission).message


def test_with_all_lanes_down_one_lane_s_worth_may_wait() -> None:
    house = House(1, 1, max_waiting_per_lane=1)
    house.set_lane(0, is_up=False)
    house.set_lane(1, is_up=False)
    with house.admission.admit(Token()), house.admission.admit(Token()):
        refusal(house.admission)


def test_the_time_to_come_back_follows_how_long_conversions_take() -> None:
    house = House(1, max_waiting_per_lane=2)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(house.admission.admit(Token()))
        assert refusal(house.admission).retry_after_s == 6  # 2 s each is the first guess
        measure(house, run_s=8)
        assert refusal(house.admission).retry_after_s == 24


def test_the_time_to_come_back_is_divided_over_lanes_and_at_most_a_minute() -> None:
    house = House(1, 1, max_waiting_per_lane=1)
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(house.admission.admit(Token()))
        measure(house, run_s=8)
        assert refusal(house.admission).retry_after_s == 16
        measure(house, run_s=500)
        assert refusal(house.admission).retry_after_s == 60


def test_the_time_to_come_back_counts_what_is_left_of_running_work() -> None:
    house = House(1, max_waiting_per_lane=0)
    measure(house, run_s=8)
    with house.guest():
        house.clock.advance(3)
        assert refusal(house.admission).retry_after_s == 5


def test_the_time_to_come_back_is_at_least_a_second() -> None:
    house = House(1, max_waiting_per_lane=0)
    with house.guest():
        house.clock.advance(2)  # as long as it is guessed to run
        assert refusal(house.admission).retry_after_s == 1


def test_loading_is_no_part_of_the_measured_run() -> None:
    house = House(1, max_waiting_per_lane=0)
    measure(house, run_s=8, disk=30, restored=5)
    with house.admission.admit(Token()):
        assert refusal(house.admission).retry_after_s == 8


def test_a_run_that_failed_is_not_measured() -> None:
    house = House(1, max_waiting_per_lane=0)
    with pytest.raises(ZeroDivisionError), house.admission.place(Token(), "v"):
        house.clock.advance(1000)
        raise ZeroDivisionError
    assert house.n_running() == [0]
    with house.admission.admit(Token()):
        assert refusal(house.admission).retry_after_s == 2


def test_a_closed_door_admits_nobody_and_the_house_empties() -> None:
    house = House(1)
    with house.guest() as guest, house.guest() as second:
        house.admission.close()
        assert house.admission.is_closed
        with pytest.raises(Draining):
            house.admission.admit(Token()).__enter__()
        assert not house.admission.wait_empty(0.01)
        guest.end()
        assert second.has_lane() == 0
        waiter = in_thread(lambda: house.admission.wait_empty(6 * PATIENCE_S))
        second.end()
        until(lambda: not waiter.is_alive())
        assert house.admission.wait_empty(0)


def test_all_inside_can_be_cancelled() -> None:
    house, tokens = House(1), [Token(), Token()]
    with house.admission.admit(tokens[0]), house.admission.admit(tokens[1]):
        house.admission.cancel_all()
    assert all(token.cancelled for token in tokens)


def test_room_that_is_kept_is_taken_by_one_conversion_in_its_context() -> None:
    house = House(1, max_waiting_per_lane=0)
    refused: list[Exception] = []
    with house.admission.reserve(refused.append):
        assert Context().run(refusal, house.admission)  # elsewhere there is none
        with house.admission.admit(Token()):
            assert house.admission.n_inside == 1
            with pytest.raises(QueueFull), house.admission.admit(Token()):
                pass
    assert house.admission.n_inside == 0
    assert refused == []


def test_room_goes_with_the_context_into_another_thread() -> None:
    house = House(1, max_waiting_per_lane=0)
    inside: list[int] = []

    def work() -> None:
        with house.admission.admit(Token()):
            inside.append(house.admission.n_inside)

    with house.admission.reserve(lambda error: None):
        in_thread(partial(copy_context().run, work)).join(10)
    assert inside == [1]


def test_a_drain_waits_for_kept_room_too() -> None:
    house = House(1)
    with house.admission.reserve(lambda error: None):
        house.admission.close()
        assert not house.admission.wait_empty(0)
        with pytest.raises(Draining), house.admission.admit(Token()):
            pass
    assert house.admission.wait_empty(0)
