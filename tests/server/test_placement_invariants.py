"""Who starts where: what must hold for all decisions, and for a whole day of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

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
    plan,
)

COSTS = Costs(run_s=10.0, load_s=4.0, restore_s=1.0)
NOW = 1000.0

KEYS = st.sampled_from("uvw")
STATES = st.sampled_from(["unloaded", "loading", "ready", "offloaded", "failed"])
AGES = st.sampled_from([0.0, 1.0, 9.0, 10.0, 11.0, 40.0, AGEING_S, HOLD_OUT_S, 500.0])
RUNS = st.builds(lambda key, age: Running(key, NOW - age), KEYS, AGES)
LANES = st.lists(
    st.builds(
        Lane,
        index=st.just(0),
        slots=st.integers(1, 3),
        is_up=st.sampled_from([True, True, True, False]),
        running=st.lists(RUNS, max_size=3).map(tuple),
        states=st.dictionaries(KEYS, STATES),
    ),
    max_size=4,
).map(lambda lanes: [replace(lane, index=n) for n, lane in enumerate(lanes)])
ASKS = st.lists(
    st.builds(
        lambda key, priority, age: Ask(0, key, priority, NOW - age),
        KEYS,
        st.sampled_from(Priority),
        AGES,
    ),
    max_size=8,
).map(lambda asks: [replace(ask, ticket=n) for n, ask in enumerate(asks)])
LIMITS = st.builds(Limits, st.integers(1, 3), st.sampled_from([None, 1, 2]))
many = settings(max_examples=150, deadline=None, database=None)


@dataclass
class Load:
    """How busy lanes are once those who start have started."""

    free: dict[int, int]
    voices: Counter[tuple[int, str]]

    @classmethod
    def after(cls, decided: Plan, asks: list[Ask], lanes: list[Lane]) -> Load:
        running = [(lane.index, run.key) for lane in lanes for run in lane.running]
        running += [(lane, asks[ticket].key) for ticket, lane in decided.starts]
        on = Counter(lane for lane, _ in running)
        return cls({lane.index: lane.slots - on[lane.index] for lane in lanes}, Counter(running))

    def can_start(self, lane: Lane, key: str, limits: Limits) -> bool:
        has_room = self.free[lane.index] > 0
        return lane.is_up and has_room and self.voices[lane.index, key] < limits.voice_concurrency


@many
@given(ASKS, LANES, LIMITS)
def test_everyone_starts_once_or_waits_for_a_true_reason(
    asks: list[Ask], lanes: list[Lane], limits: Limits
) -> None:
    decided = plan(asks, lanes, COSTS, limits, NOW)
    assert sorted([t for t, _ in decided.starts] + list(decided.waits)) == [a.ticket for a in asks]
    load = Load.after(decided, asks, lanes)
    for ticket, wait in decided.waits.items():
        if wait.lane is None:
            assert wait.reason == "no_device"
            assert not any(lane.is_up for lane in lanes)
            continue
        assert lanes[wait.lane].is_up
        assert not load.can_start(lanes[wait.lane], asks[ticket].key, limits)
        # Lower ranks may have taken the last slot since; before them the reason was true.
        assert wait.reason == "voice_busy" or load.free[wait.lane] <= 0


@many
@given(ASKS, LANES, LIMITS)
def test_no_lane_gets_more_than_its_slots_and_no_voice_more_than_its_limit(
    asks: list[Ask], lanes: list[Lane], limits: Limits
) -> None:
    decided = plan(asks, lanes, COSTS, limits, NOW)
    load = Load.after(decided, asks, lanes)
    for ticket, index in decided.starts:
        assert lanes[index].is_up
        assert load.free[index] >= 0
        assert load.voices[index, asks[ticket].key] <= limits.voice_concurrency


@many
@given(ASKS, LANES, LIMITS)
def test_no_voice_comes_to_more_lanes_than_allowed(
    asks: list[Ask], lanes: list[Lane], limits: Limits
) -> None:
    decided = plan(asks, lanes, COSTS, limits, NOW)
    for key in "uvw":
        before = {
            lane.index
            for lane in lanes
            if lane.is_up
            and (
                lane.states.get(key) in ("ready", "loading")
                or any(run.key == key for run in lane.running)
            )
        }
        after = before | {lane for ticket, lane in decided.starts if asks[ticket].key == key}
        assert after == before or limits.max_replicas is None or len(after) <= limits.max_replicas


@many
@given(ASKS, LANES, LIMITS)
def test_who_has_waited_long_waits_only_if_no_lane_can_start_it(
    asks: list[Ask], lanes: list[Lane], limits: Limits
) -> None:
    limits = replace(limits, max_replicas=None)
    decided = plan(asks, lanes, COSTS, limits, NOW)
    load = Load.after(decided, asks, lanes)
    for old in [a for a in asks if NOW - a.arrived >= HOLD_OUT_S and a.ticket in decided.waits]:
        assert not any(load.can_start(lane, old.key, limits) for lane in lanes)


@many
@given(ASKS, LANES, LIMITS, st.randoms(use_true_random=False))
def test_the_order_in_which_requests_are_listed_does_not_matter(
    asks: list[Ask], lanes: list[Lane], limits: Limits, random: Random
) -> None:
    shuffled = random.sample(asks, len(asks))
    assert plan(shuffled, lanes, COSTS, limits, NOW) == plan(asks, lanes, COSTS, limits, NOW)


@many
@given(ASKS, LANES, LIMITS)
def test_later_requests_change_nothing_for_earlier_ones(
    asks: list[Ask], lanes: list[Lane], limits: Limits
) -> None:
    asks = [replace(one, priority=Priority.INTERACTIVE, arrived=one.ticket) for one in asks]
    decided = plan(asks, lanes, COSTS, limits, NOW)
    for n in range(len(asks)):
        first = plan(asks[:n], lanes, COSTS, limits, NOW)
        assert first.starts == tuple(s for s in decided.starts if s[0] < n)
        assert first.waits == {t: wait for t, wait in decided.waits.items() if t < n}


LONGEST_S = 20.0


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.randoms(use_true_random=False),
    st.integers(1, 3),
    st.sampled_from(Priority),
    st.sampled_from([None, 1]),
)
def test_everyone_starts_although_traffic_never_ends(
    random: Random, n_lanes: int, priority: Priority, max_replicas: int | None
) -> None:
    """Eight others are in line at any time, some with its voice; states change as they like."""
    now, tickets, victim = 0.0, iter(range(1, 100_000)), Ask(0, "v", priority, 0.0)
    line, ends, states = {0: victim}, list[tuple[float, int, Running]](), list[dict[str, str]]()
    while 0 in line:
        assert now <= HOLD_OUT_S + 12 * LONGEST_S, "it starves"
        while len(line) < 9:
            ticket = next(tickets)
            line[ticket] = Ask(ticket, random.choice("uvw"), Priority.INTERACTIVE, now)
        states = [{k: random.choice(["ready", "unloaded"]) for k in "uvw"} for _ in range(n_lanes)]
        lanes = [
            Lane(n, 2, True, tuple(r for _, lane, r in ends if lane == n), states[n])
            for n in range(n_lanes)
        ]
        decided = plan(line.values(), lanes, COSTS, Limits(1, max_replicas), now)
        for ticket, lane in decided.starts:
            running = Running(line.pop(ticket).key, now)
            ends.append((now + random.uniform(0.1, LONGEST_S), lane, running))
        first = min(ends, key=lambda end: end[0])
        ends.remove(first)
        now = first[0]
