"""The planner's decisions, from pictures alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from gpu.plan import (
    Decision,
    backoff_s,
    choose_victims,
    due_action,
    is_evictable,
    offload_at,
    plan,
    release_at,
    surplus_models,
)
from gpu.state import Limits, ModelState, ModelView, Snapshot


def wanted(need: int, **fields: Any) -> ModelView:
    return ModelView(key=0, id="w", state=ModelState.UNLOADED, need_bytes=need, **fields)


def hot(key: int, n_bytes: int, **fields: Any) -> ModelView:
    return ModelView(key=key, id=f"m{key}", state=ModelState.READY, device_bytes=n_bytes, **fields)


def picture(*models: ModelView, budget: int | None = 100, now: float = 0.0) -> Snapshot:
    return Snapshot(now, models, budget, sum(view.device_bytes for view in models))


@pytest.mark.parametrize(
    ("view", "kind"),
    [
        (hot(0, 10), "grant"),
        (hot(0, 10, leases=1, concurrency=2), "grant"),
        (hot(0, 10, leases=1), "join"),
        (hot(0, 10, waiting=1), "join"),
        (hot(0, 10, draining=True), "join"),
        (ModelView(0, "a", ModelState.LOADING), "join"),
        (ModelView(0, "a", ModelState.OFFLOADING), "join"),
        (ModelView(0, "a", ModelState.RELEASING), "join"),
        (ModelView(0, "a", ModelState.OFFLOADED, need_bytes=100), "load"),
        (ModelView(0, "a", ModelState.FAILED, backoff_until=1.0), "reject"),
        (ModelView(0, "a", ModelState.FAILED, backoff_until=0.0), "load"),
    ],
)
def test_a_single_model_is_granted_joined_loaded_or_refused(view: ModelView, kind: str) -> None:
    assert plan(picture(view), 0).kind == kind


def test_without_a_budget_everything_fits() -> None:
    assert plan(picture(wanted(10**15), budget=None), 0).kind == "load"


def test_a_model_that_fits_exactly_is_loaded_without_eviction() -> None:
    assert plan(picture(wanted(40), hot(1, 60)), 0).kind == "load"


def test_the_least_recently_used_idle_model_makes_room() -> None:
    models = (wanted(40), hot(1, 50, idle_since=2.0), hot(2, 50, idle_since=1.0))
    assert plan(picture(*models), 0).victims == (2,)


def test_several_models_go_when_one_is_not_enough() -> None:
    models = (wanted(90), hot(1, 50, idle_since=2.0), hot(2, 50, idle_since=1.0))
    assert set(plan(picture(*models), 0).victims) == {1, 2}


def test_a_small_old_model_stays_when_a_bigger_one_covers_the_need() -> None:
    models = (wanted(60), hot(1, 10, idle_since=1.0), hot(2, 90, idle_since=2.0))
    assert plan(picture(*models), 0).victims == (2,)


@pytest.mark.parametrize(
    "busy", [{"leases": 1}, {"waiting": 1}, {"draining": True}, {"pinned": False, "leases": 3}]
)
def test_models_in_use_are_waited_for_not_evicted(busy: dict[str, Any]) -> None:
    decision = plan(picture(wanted(40), hot(1, 80, **busy)), 0)
    assert (decision.kind, decision.reason) == ("wait", "busy")


def test_nobody_is_evicted_when_that_would_not_be_enough() -> None:
    decision = plan(picture(wanted(90), hot(1, 50), hot(2, 50, leases=1)), 0)
    assert (decision.kind, decision.victims) == ("wait", ())


def test_bytes_on_their_way_are_waited_for_instead_of_evicting_more() -> None:
    leaving = ModelView(1, "l", ModelState.OFFLOADING, device_bytes=60)
    decision = plan(picture(wanted(50), leaving, hot(2, 40)), 0)
    assert (decision.kind, decision.reason) == ("wait", "coming")


def test_eviction_can_be_forbidden_to_those_who_jump_the_queue() -> None:
    assert plan(picture(wanted(40), hot(1, 80)), 0, may_evict=False).kind == "wait"


def test_a_model_bigger_than_the_budget_is_refused() -> None:
    decision = plan(picture(wanted(101)), 0)
    assert (decision.kind, decision.reason) == ("reject", "insufficient_memory")


def test_a_model_that_fits_only_without_the_pinned_ones_is_refused() -> None:
    assert plan(picture(wanted(60), hot(1, 50, pinned=True)), 0).kind == "reject"


def test_victims_never_include_pinned_models() -> None:
    assert choose_victims(
        [hot(1, 50, pinned=True), hot(2, 50, idle_since=9.0)], 50, is_evictable
    ) == (2,)


def test_timers_count_from_the_last_release() -> None:
    view = hot(1, 10, idle_since=100.0, offload_after_s=5.0, release_after_s=30.0)
    assert (offload_at(view), release_at(view)) == (105.0, 130.0)


def test_a_timer_of_minus_one_never_falls_due() -> None:
    view = hot(1, 10, offload_after_s=-1.0, release_after_s=-1.0)
    assert (offload_at(view), release_at(view)) == (math.inf, math.inf)


@pytest.mark.parametrize(
    "busy", [{"leases": 1}, {"waiting": 1}, {"pinned": True}, {"draining": True}]
)
def test_no_timer_touches_a_model_in_use_or_pinned(busy: dict[str, Any]) -> None:
    view = hot(1, 10, offload_after_s=0.0, release_after_s=0.0, **busy)
    assert due_action(view, 1e9) is None


def test_release_wins_when_both_timers_are_due() -> None:
    view = hot(1, 10, offload_after_s=1.0, release_after_s=2.0)
    assert [due_action(view, now) for now in (0.5, 1.0, 2.0)] == [None, "offload", "release"]


def test_an_offloaded_model_is_only_released() -> None:
    view = ModelView(1, "a", ModelState.OFFLOADED, offload_after_s=1.0, release_after_s=5.0)
    assert [due_action(view, now) for now in (4.0, 5.0)] == [None, "release"]


def test_backoff_doubles_from_one_second_to_a_minute() -> None:
    assert [backoff_s(n) for n in (1, 2, 3, 6, 7, 5000)] == [1, 2, 4, 32, 60, 60]


def test_a_load_that_has_waited_long_enough_bars_newcomers_from_the_busy_model() -> None:
    busy = hot(1, 100, leases=1)
    waiting = wanted(40, wanted_since=0.0)
    assert plan(picture(waiting, busy, now=14.9), 0).kind == "wait"
    assert plan(picture(waiting, busy, now=15.0), 0) == Decision("latch", (1,))
    latched = hot(1, 100, leases=1, latched=True)
    assert plan(picture(waiting, latched, now=16.0), 0) == Decision("wait", reason="busy")
    over = hot(1, 100, latched=True, waiting=3)  # who came meanwhile waits behind the load
    assert plan(picture(waiting, over, now=16.0), 0) == Decision("evict", (1,))


def test_newcomers_join_the_queue_of_a_latched_model() -> None:
    assert plan(picture(hot(0, 10, latched=True)), 0).kind == "join"


def test_bytes_of_other_programs_are_not_evicted_for_in_vain() -> None:
    idle = hot(1, 30)
    shot = replace(picture(wanted(50), idle), outside_bytes=60)
    assert plan(shot, 0) == Decision("reject", reason="insufficient_vram")
    assert plan(replace(shot, outside_bytes=40), 0) == Decision("evict", (1,))


def in_host(key: int, n_bytes: int, idle_since: float, **fields: Any) -> ModelView:
    return ModelView(
        key, f"m{key}", ModelState.OFFLOADED, need_bytes=n_bytes, idle_since=idle_since, **fields
    )


def test_the_oldest_models_leave_a_host_memory_that_is_too_full() -> None:
    models = [in_host(1, 30, 5.0), in_host(2, 30, 1.0), in_host(3, 30, 0.0, pinned=True)]
    shot = replace(picture(*models), limits=Limits(host_bytes=60))
    assert surplus_models(shot) == (2,)
    assert surplus_models(replace(shot, limits=Limits(host_bytes=90))) == ()
    assert surplus_models(replace(shot, limits=Limits(host_bytes=0))) == (2, 1)


def test_only_idle_counted_models_leave_when_there_are_too_many() -> None:
    models = [
        hot(1, 10, counted=True, leases=1),
        hot(2, 10, counted=True, idle_since=2.0),
        in_host(3, 10, 1.0, counted=True),
        hot(4, 10, idle_since=0.0),
    ]
    shot = replace(picture(*models), limits=Limits(counted_models=2))
    assert surplus_models(shot) == (3,)
    assert surplus_models(replace(shot, limits=Limits(counted_models=0))) == (3, 2)
