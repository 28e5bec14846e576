"""Levels of pressure: where they begin and end, and that they do not flap."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu.pressure import BEGINS, DEBOUNCE_S, ENDS, PressureGauge, PressureLevel

NONE, SOFT, HARD, CRITICAL = PressureLevel
FAILS = -1.0  # in place of a free share: an allocation failed
Samples = tuple[tuple[float, float], ...]  # when, free share


def play(samples: Iterable[tuple[float, float]]) -> PressureLevel:
    gauge = PressureGauge()
    for now, free in samples:
        if free == FAILS:
            gauge.allocation_failed(now)
        else:
            gauge.sample(now, free)
    return gauge.level


def held(free: float, after: Samples = ()) -> Samples:
    """Those samples, then three seconds of one more."""
    start = after[-1][0] if after else 0.0
    return (*after, *((start + second, free) for second in (1.0, 2.0, 3.0)))


@pytest.mark.parametrize(
    ("samples", "level"),
    [
        ((), NONE),
        (held(0.15), NONE),
        (held(0.149), SOFT),
        (held(0.07), SOFT),
        (held(0.069), HARD),
        (((0, 0.10), (1.9, 0.10)), NONE),
        (((0, 0.10), (2.0, 0.10)), SOFT),
        (((0, 0.10), (1, 0.50), (2, 0.10)), NONE),
        (((0, 0.10), (1, 0.01), (2, 0.01)), SOFT),  # hard for one second only
        (((0, 0.01), (1, 0.10), (2, 0.10)), SOFT),
        (held(0.199, held(0.10)), SOFT),
        (held(0.20, held(0.10)), NONE),
        (held(0.119, held(0.01)), HARD),
        (held(0.12, held(0.01)), SOFT),
        (held(0.20, held(0.01)), NONE),
        ((*held(0.10), (4, 0.9), (5, 0.17), (5.5, 0.9), (7.5, 0.9)), NONE),
        ((*held(0.10), (4, 0.01), (5, 0.9), (6, 0.9)), SOFT),
        (((0, FAILS),), CRITICAL),
        (((0, FAILS), (1.9, 0.9)), CRITICAL),
        (((0, FAILS), (1, 0.9), (2, 0.9)), NONE),
        (((0, FAILS), (1, 0.9), (1.5, FAILS), (2, 0.9), (3, 0.9)), CRITICAL),
        (((0, FAILS), (1, 0.01), (2, 0.9)), HARD),
        (((0, FAILS), (1, 0.19), (2, 0.19)), SOFT),
    ],
)
def test_the_level_follows_what_lasts(samples: Samples, level: PressureLevel) -> None:
    assert play(samples) == level


steps = st.lists(
    st.tuples(
        st.sampled_from([0.1, 0.5, 1.0, 1.9, 2.0, 5.0]),
        st.sampled_from([FAILS, 0.0, 0.06, 0.07, 0.11, 0.12, 0.14, 0.15, 0.19, 0.2, 0.9]),
    ),
    max_size=60,
)


@given(steps)
def test_a_level_is_left_only_after_samples_beyond_the_hysteresis_for_two_seconds(
    steps: list[tuple[float, float]],
) -> None:
    gauge, now, history, changed_at = PressureGauge(), 0.0, [(0.0, 1.0)], -DEBOUNCE_S
    for gap, free in steps:
        now += gap
        before = gauge.level
        if free == FAILS:
            assert gauge.allocation_failed(now) is CRITICAL
            history, changed_at = [], now
            continue
        history.append((now, free))
        level = gauge.sample(now, free)
        if level is before:
            continue
        assert now - changed_at >= DEBOUNCE_S
        recent = [share for at, share in history if at > now - DEBOUNCE_S]
        if level > before:
            assert all(share < BEGINS[level] for share in recent)
        elif before is not CRITICAL:
            assert all(share >= ENDS[before] for share in recent)
        changed_at = now


@given(steps)
def test_quiet_ends_all_pressure_in_at_most_two_steps(steps: list[tuple[float, float]]) -> None:
    samples, now = [], 0.0
    for gap, free in steps:
        now += gap
        samples.append((now, free))
    assert play([*samples, *((now + second, 0.9) for second in range(1, 7))]) is NONE
