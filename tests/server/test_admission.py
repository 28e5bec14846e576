"""The door and the line behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from rvc_core.errors import Cancelled, DeadlineExceeded
from rvc_core.token import Token
from server.admission import Admission, LaneFacts, Waiting
from server.placement import AGEING_S, Priority
from tests.gpu.fakes import in_thread, until
from tests.server.house import PATIENCE_S, House, measure, refusal


@pytest.mark.parametrize(("load_s", "lane"), [(1.0, 1), (40.0, None)])
def test_measured_loads_decide_whether_to_hold_out_for_a_busy_lane(
    load_s: float, lane: int | None
) -> None:
    house = House(1, 1)
    measure(house, run_s=20, disk=load_s)
    house.set_lane(0, v="ready")
    with house.guest("v"), house.guest("v") as second:
        until(lambda: second.is_running is (lane is not None))
        assert second.lane == lane


def test_different_voices_run_side_by_side_and_one_voice_serially() -> None:
    house = House(3)
    with house.guest("v") as first, house.guest("v") as second, house.guest("w") as other:
        assert other.has_lane() == 0
        assert [(one.key, one.lane, one.reason) for one in house.admission.waiting()] == [
            ("v", 0, "voice_busy")
        ]
        first.end()
        assert second.has_lane() == 0


def test_a_voice_may_run_more_often_if_the_server_says_so() -> None:
    house = House(3, voice_concurrency=2)
    with house.guest(), house.guest(), house.guest():
        until(lambda: house.n_running() == [2])
        assert house.admission.n_in_line == 1


def test_a_voice_stays_on_as_many_lanes_as_the_server_says() -> None:
    house = House(1, 1, max_replicas=1)
    with house.guest() as first, house.guest() as second:
        assert house.n_running() == [1, 0]
        first.end()
        assert second.has_lane() is not None


def test_who_came_first_goes_first() -> None:
    house = House(1)
    with house.guest("a") as first, house.guest("b") as second, house.guest("c") as third:
        first.end()
        assert second.has_lane() == 0
        assert not third.is_running
        second.end()
        assert third.has_lane() == 0


@pytest.mark.parametrize(("age_s", "batch_first"), [(0.0, False), (AGEING_S, True)])
def test_a_batch_request_goes_after_interactive_ones_until_it_has_aged(
    age_s: float, batch_first: bool
) -> None:
    house = House(1)
    with house.guest("a") as running, house.guest("b", Priority.BATCH) as batch:
        house.clock.advance(age_s)
        with house.guest("c") as late:
            running.end()
            until(lambda: batch.is_running or late.is_running)
            assert (batch.is_running, late.is_running) == (batch_first, not batch_first)


def test_whoever_holds_out_for_a_late_lane_is_moved_without_any_event() -> None:
    house = House(1, 1)
    measure(house, run_s=20, disk=40)
    house.set_lane(0, v="ready")
    with house.guest("v"), house.guest("v") as second:
        assert second.lane is None
        house.clock.advance(70)
        assert second.has_lane() == 1


def test_a_cancelled_waiter_leaves_the_line_and_others_move_up() -> None:
    house = House(1)
    with house.guest("a") as first, house.guest("b") as second, house.guest("c") as third:
        second.token.cancel()
        assert isinstance(second.ends_with(), Cancelled)
        assert [one.key for one in house.admission.waiting()] == ["c"]
        first.end()
        assert third.has_lane() == 0


def test_the_deadline_ends_the_wait() -> None:
    house = House(1)
    with house.guest("a"), house.guest("b", token=Token(5, house.clock)) as second:
        house.clock.advance(5)
        assert isinstance(second.ends_with(), DeadlineExceeded)


def test_a_request_that_is_over_already_takes_no_lane() -> None:
    house, token = House(1), Token()
    token.cancel()
    with pytest.raises(Cancelled):
        house.admission.place(token, "v").__enter__()
    assert (house.admission.n_in_line, house.n_running()) == (0, [0])


def test_when_a_lane_goes_down_its_line_goes_elsewhere() -> None:
    house = House(1, 1)
    measure(house, run_s=20, disk=40)
    house.set_lane(0, v="ready")
    with house.guest("v"), house.guest("v") as second:
        assert [one.lane for one in house.admission.waiting()] == [0]
        house.set_lane(0, is_up=False)
        assert second.has_lane() == 1


def test_with_all_lanes_down_requests_wait_until_one_is_up() -> None:
    house = House(1)
    house.set_lane(0, is_up=False)
    with house.guest() as guest:
        assert [(one.lane, one.reason) for one in house.admission.waiting()] == [
            (None, "no_device")
        ]
        house.set_lane(0, is_up=True)
        assert guest.has_lane() == 0


def test_with_all_lanes_down_the_deadline_still_counts() -> None:
    house = House(1)
    house.set_lane(0, is_up=False)
    with house.guest(token=Token(5, house.clock)) as guest:
        house.clock.advance(5)
        assert isinstance(guest.ends_with(), DeadlineExceeded)


def test_a_lane_that_came_up_unreported_is_noticed() -> None:
    house = House(1)
    house.set_lane(0, is_up=False)
    with house.guest() as guest:
        house.lanes[0] = LaneFacts(1)
        house.clock.advance(1)
        assert guest.has_lane() == 0


def test_an_old_answer_about_the_lanes_does_not_replace_a_newer_one() -> None:
    asked, answer = threading.Event(), threading.Event()
    answers: list[Callable[[], list[LaneFacts]]] = []
    admission = Admission(lambda: answers.pop()())

    def slow() -> list[LaneFacts]:
        asked.set()
        answer.wait(PATIENCE_S)
        return [LaneFacts(1, is_up=False)]

    answers.append(slow)
    thread = in_thread(admission.replan)
    assert asked.wait(PATIENCE_S)
    answers.append(lambda: [LaneFacts(1), LaneFacts(1)])
    admission.replan()
    answer.set()
    thread.join(PATIENCE_S)
    assert len(admission.counts()) == 2


@pytest.mark.parametrize(("level", "n_slots"), [("soft", 4), ("hard", 2), ("critical", 2)])
def test_memory_pressure_halves_the_slots_of_a_lane_with_several(level: str, n_slots: int) -> None:
    house = House(4)
    house.admission.set_pressure(level)
    with ExitStack() as stack:
        for key in "abcd":
            stack.enter_context(house.guest(key))
        assert house.n_running() == [n_slots]
        house.admission.set_pressure("none")
        assert house.n_running() == [4]


def test_memory_pressure_leaves_a_lane_its_only_slot() -> None:
    house = House(1)
    house.admission.set_pressure("hard")
    with house.guest() as guest:
        assert guest.has_lane() == 0


def test_the_counts_say_who_is_where() -> None:
    house = House(1, max_waiting_per_lane=7)
    with house.guest("a"), house.guest("b"), house.guest("c", Priority.BATCH):
        house.clock.advance(3)
        assert house.admission.counts() == [
            {"interactive": 1, "batch": 1, "running": 1, "limit": 7}
        ]
        assert house.admission.waiting() == [
            Waiting("b", Priority.INTERACTIVE, 3.0, 0, "queue"),
            Waiting("c", Priority.BATCH, 3.0, 0, "queue"),
        ]


def test_what_is_no_conversion_does_not_tell_how_long_they_take() -> None:
    house = House(1, max_waiting_per_lane=0)
    measure(house, run_s=20)
    for _ in range(50):
        with house.admission.place(Token(), "v") as place:
            place.is_run = False
    with house.guest("v") as running:
        assert running.has_lane() == 0
        assert refusal(house.admission).retry_after_s == 20
