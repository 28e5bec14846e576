"""Who starts where: one decision a test."""

from __future__ import annotations

from collections.abc import Mapping

from server.placement import (
    AGEING_S,
    HOLD_OUT_S,
    Ask,
    Costs,
    Lane,
    Limits,
    Plan,
    Priority,
    Running,
    Wait,
    plan,
    remaining_s,
)

COSTS = Costs(run_s=10.0, load_s=4.0, restore_s=1.0)
NOW = 1000.0
READY: Mapping[str, str] = {"v": "ready"}


def ask(ticket: int, key: str = "v", waited_s: float | None = None, batch: bool = False) -> Ask:
    """A request; without `waited_s`, a greater ticket came later, all within a second."""
    arrived = NOW - 1 + ticket / 1000 if waited_s is None else NOW - waited_s
    return Ask(ticket, key, Priority.BATCH if batch else Priority.INTERACTIVE, arrived)


def run(key: str = "v", elapsed_s: float = 0.0) -> Running:
    return Running(key, NOW - elapsed_s)


def decide(asks: list[Ask], *lanes: Lane, limits: Limits | None = None) -> Plan:
    return plan(asks, lanes, COSTS, limits or Limits(), NOW)


def test_a_request_starts_on_an_idle_lane() -> None:
    assert decide([ask(1)], Lane(0, 1)) == Plan(((1, 0),), {})


def test_who_came_first_starts_first() -> None:
    decided = decide([ask(2, "b"), ask(1, "a")], Lane(0, 1))
    assert decided.starts == ((1, 0),)
    assert decided.waits == {2: Wait(0, "queue")}


def test_a_batch_request_lets_interactive_ones_pass() -> None:
    assert decide([ask(1, "a", batch=True), ask(2, "b")], Lane(0, 1)).starts == ((2, 0),)


def test_an_aged_batch_request_goes_by_its_arrival() -> None:
    old = ask(1, "a", waited_s=AGEING_S, batch=True)
    assert decide([old, ask(2, "b")], Lane(0, 1)).starts == ((1, 0),)
    young = ask(1, "a", waited_s=AGEING_S - 0.01, batch=True)
    assert decide([young, ask(2, "b")], Lane(0, 1)).starts == ((2, 0),)


def test_of_idle_lanes_the_one_that_has_the_voice_is_taken() -> None:
    lanes = (Lane(0, 1), Lane(1, 1, states={"v": "offloaded"}), Lane(2, 1, states=READY))
    assert decide([ask(1)], *lanes).starts == ((1, 2),)
    assert decide([ask(1)], *lanes[:2]).starts == ((1, 1),)


def test_a_request_holds_out_for_a_busy_lane_that_is_free_sooner_than_a_load_takes() -> None:
    idle, busy = Lane(0, 1), Lane(1, 1, running=(run("w", elapsed_s=7),), states=READY)
    assert decide([ask(1)], idle, busy) == Plan((), {1: Wait(1, "queue")})


def test_a_request_loads_its_voice_elsewhere_when_that_is_sooner() -> None:
    idle, busy = Lane(0, 1), Lane(1, 1, running=(run("w", elapsed_s=5),), states=READY)
    assert decide([ask(1)], idle, busy).starts == ((1, 0),)


def test_a_restore_counts_less_than_a_load() -> None:
    busy = Lane(1, 1, running=(run("w", elapsed_s=7),), states=READY)
    assert decide([ask(1)], Lane(0, 1, states={"v": "offloaded"}), busy).starts == ((1, 0),)


def test_nobody_holds_out_for_a_lane_that_is_far_behind_its_time() -> None:
    busy = Lane(1, 1, running=(run("w", elapsed_s=500),), states=READY)
    assert decide([ask(1)], Lane(0, 1), busy).starts == ((1, 0),)
    assert (remaining_s(10, 4), remaining_s(10, 14)) == (6, 4)


def test_a_lane_whose_run_is_due_now_loses_against_an_idle_one() -> None:
    busy = Lane(0, 1, running=(run("w", elapsed_s=10),), states=READY)
    idle = Lane(1, 1, states={**READY, "x": "ready", "y": "ready"})
    assert decide([ask(1)], busy, idle).starts == ((1, 1),)


def test_who_has_waited_long_holds_out_for_nobody() -> None:
    idle, busy = Lane(0, 1), Lane(1, 1, running=(run("w", elapsed_s=7),), states=READY)
    assert decide([ask(1, waited_s=HOLD_OUT_S)], idle, busy).starts == ((1, 0),)


def test_the_line_at_a_lane_counts() -> None:
    lanes = (Lane(0, 1, states=READY), Lane(1, 1))
    decided = decide([ask(1), ask(2), ask(3)], *lanes)
    assert decided.starts == ((1, 0), (2, 1))  # 14 s there, 20 s here
    assert decided.waits == {3: Wait(0, "queue")}  # 20 s here, 24 s there


def test_the_slot_that_is_free_first_counts() -> None:
    two = Lane(0, 2, running=(run("a", elapsed_s=5), run("b", elapsed_s=2)))
    one = Lane(1, 1, running=(run("c"),))
    decided = decide([ask(n, f"w{n}") for n in (1, 2, 3)], two, one)
    # Ends after 5 + 14 s here, 8 + 14 s here, 10 + 14 s there.
    assert [decided.waits[n].lane for n in (1, 2, 3)] == [0, 0, 1]


def test_the_line_of_a_voice_counts() -> None:
    here = Lane(0, 3, running=(run("v"),), states=READY)
    there = Lane(1, 1, running=(run("w", elapsed_s=3),))
    decided = decide([ask(1), ask(2)], here, there)  # 20 s here, then 30 s; 21 s there
    assert [decided.waits[n].lane for n in (1, 2)] == [0, 1]


def test_who_waits_for_its_voice_leaves_the_free_slot_to_others() -> None:
    here = Lane(0, 2, running=(run("v"),), states={"v": "ready", "w": "ready"})
    there = Lane(1, 1, running=(run("x", elapsed_s=3),), states={"w": "ready"})
    decided = decide([ask(1), ask(2, "w")], here, there)
    assert decided == Plan(((2, 0),), {1: Wait(0, "voice_busy")})


def test_idle_lanes_share_strange_voices() -> None:
    lanes = (Lane(0, 1, states={"a": "ready"}), Lane(1, 1))
    assert decide([ask(1, "b")], *lanes).starts == ((1, 1),)
    absent = Lane(1, 1, states={"x": "unloaded", "y": "unloaded"})
    assert decide([ask(1, "b")], lanes[0], absent).starts == ((1, 1),)
    assert decide([ask(1, "b"), ask(2, "c")], *lanes).starts == ((1, 1), (2, 0))


def test_a_lane_where_the_voice_just_failed_to_load_comes_last() -> None:
    lanes = (Lane(0, 1, states={"v": "failed"}), Lane(1, 1, states={"x": "ready", "y": "ready"}))
    assert decide([ask(1)], *lanes).starts == ((1, 1),)


def test_a_voice_runs_serially_on_a_lane_while_others_pass() -> None:
    decided = decide([ask(1), ask(2, "w")], Lane(0, 2, running=(run("v"),)))
    assert decided.starts == ((2, 0),)
    assert decided.waits == {1: Wait(0, "voice_busy")}


def test_two_requests_of_a_voice_do_not_start_together_on_a_lane() -> None:
    decided = decide([ask(1), ask(2)], Lane(0, 2))
    assert decided == Plan(((1, 0),), {2: Wait(0, "voice_busy")})


def test_a_voice_may_run_as_often_as_the_limit_says() -> None:
    limits = Limits(voice_concurrency=2)
    decided = decide([ask(1), ask(2)], Lane(0, 3, running=(run("v"),)), limits=limits)
    assert decided == Plan(((1, 0),), {2: Wait(0, "voice_busy")})


def test_a_third_of_a_voice_waits_for_the_first_of_two_to_end() -> None:
    limits = Limits(voice_concurrency=2)
    both = Lane(0, 4, running=(run("v", elapsed_s=9), run("v")), states=READY)
    other = Lane(1, 1, running=(run("w", elapsed_s=7),), states=READY)
    assert decide([ask(1)], both, other, limits=limits).waits[1].lane == 0
    assert decide([ask(1)], both, other, limits=Limits(1)).waits[1].lane == 1


def test_a_voice_spreads_to_no_more_lanes_than_allowed() -> None:
    busy = Lane(0, 1, running=(run("v"),), states=READY)
    assert decide([ask(1)], busy, Lane(1, 1)).starts == ((1, 1),)
    decided = decide([ask(1)], busy, Lane(1, 1), limits=Limits(max_replicas=1))
    assert decided == Plan((), {1: Wait(0, "queue")})


def test_a_replica_on_a_lane_that_is_down_does_not_count() -> None:
    down = Lane(0, 1, is_up=False, states=READY)
    assert decide([ask(1)], down, Lane(1, 1), limits=Limits(max_replicas=1)).starts == ((1, 1),)


def test_a_lane_that_is_down_gets_nothing() -> None:
    assert decide([ask(1)], Lane(0, 1, is_up=False, states=READY), Lane(1, 1)).starts == ((1, 1),)


def test_with_no_lane_up_all_wait_for_a_device() -> None:
    decided = decide([ask(1), ask(2)], Lane(0, 1, is_up=False))
    assert decided == Plan((), {1: Wait(None, "no_device"), 2: Wait(None, "no_device")})
    assert decide([ask(1)]) == Plan((), {1: Wait(None, "no_device")})


def test_a_lane_with_more_runs_than_slots_starts_nobody() -> None:
    lane = Lane(0, 1, running=(run("a"), run("b")))
    assert decide([ask(1)], lane) == Plan((), {1: Wait(0, "queue")})
