from __future__ import annotations

import pytest

from server.errors import TooManyAtOnce, Unauthorized
from server.keys import USE, Caller
from server.limits import MOST_KEPT, WRONG_KEYS, AtOnce, Windows, WrongKeys, whole_seconds
from tests.gpu.fakes import FakeClock

TWICE = Caller("anna", frozenset({USE}), concurrency=2)


def test_a_window_moves_with_the_clock() -> None:
    clock = FakeClock()
    windows = Windows(clock=clock)
    assert windows.acquire_entry("anna", 2, 60)
    clock.advance(40)
    assert windows.acquire_entry("anna", 2, 60)
    assert not windows.acquire_entry("anna", 2, 60)
    assert windows.left_s(windows.get_moving_window("anna", 2, 60)[0] + 60) == 20
    clock.advance(20)
    assert windows.acquire_entry("anna", 2, 60)
    assert not windows.acquire_entry("anna", 2, 60)


def test_callers_are_counted_by_themselves() -> None:
    windows = Windows(clock=FakeClock())
    assert windows.acquire_entry("anna", 1, 60)
    assert windows.acquire_entry("bert", 1, 60)


def test_only_so_many_callers_are_remembered() -> None:
    windows = Windows(clock=FakeClock())
    for n in range(MOST_KEPT + 1):
        windows.acquire_entry(str(n), 1, 60)
    assert windows.reset() == MOST_KEPT


def test_a_caller_has_so_many_requests_at_hand_and_no_more() -> None:
    at_once = AtOnce()
    leave = at_once.enter(TWICE)
    at_once.enter(TWICE)
    with pytest.raises(TooManyAtOnce, match="2 at once"):
        at_once.enter(TWICE)
    leave()
    at_once.enter(TWICE)


def test_without_a_bound_nobody_counts() -> None:
    at_once = AtOnce()
    for _ in range(100):
        at_once.enter(Caller("bert", frozenset({USE})))


def test_an_address_that_tries_keys_is_told_to_wait_and_then_may_go_on() -> None:
    clock = FakeClock()
    wrong = WrongKeys(clock)
    for _ in range(WRONG_KEYS):
        wrong.note("10.0.0.1")
        clock.advance(1)
    with pytest.raises(Unauthorized) as caught:
        wrong.note("10.0.0.1")
    assert caught.value.retry_after_s == 50
    wrong.note("10.0.0.2")
    clock.advance(50)
    wrong.note("10.0.0.1")


@pytest.mark.parametrize(
    ("seconds", "whole"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.01, 2), (59.5, 60)]
)
def test_whoever_waits_as_told_does_not_come_too_early(seconds: float, whole: int) -> None:
    assert whole_seconds(seconds) == whole
