"""Specs refuse nonsense; states have no other ways than the table's."""

from __future__ import annotations

from typing import Any

import pytest

from gpu.entry import Entry
from gpu.errors import IllegalTransition, InvalidSpec
from gpu.state import TRANSITIONS, ModelState
from tests.gpu.fakes import World


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"concurrency": 0},
        {"nbytes_estimate": -1},
        {"offload_after_s": -2.0},
        {"release_after_s": float("nan")},
    ],
)
def test_a_spec_refuses_values_outside_its_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec):
        World().spec("a", **wrong)


def test_a_spec_takes_0_and_never_for_its_timers() -> None:
    spec = World().spec("a", offload_after_s=0, release_after_s=-1)
    assert (spec.offload_after_s, spec.release_after_s) == (0, -1)


def test_a_state_is_left_only_by_the_ways_in_the_table() -> None:
    for state in ModelState:
        for target in ModelState:
            entry = Entry(0, World().spec("a"))
            entry.state = state
            if target in TRANSITIONS[state]:
                entry.move_to(target)
                assert (entry.state, entry.epoch) == (target, 1)
            else:
                with pytest.raises(IllegalTransition):
                    entry.move_to(target)
                assert (entry.state, entry.epoch) == (state, 0)
