"""Which waiting request starts on which lane: a pure decision, made anew at every event.

A lane is one device with `slots` conversions at once. Requests stand in one line and belong to no
lane before they start, so none is stuck behind a busy or dead device while another is free.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

AGEING_S = 30.0  # a batch request that waited this long counts as interactive from its arrival on
# One that waited this long holds out for no better lane. Not sooner, as that costs affinity; and
# where ten in line wait two minutes, runs are so long that a load hardly counts.
HOLD_OUT_S = 120.0

Reason = Literal["queue", "voice_busy", "no_device"]


class Priority(str, Enum):
    """The class of a request; interactive ones go first."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


@dataclass(frozen=True)
class Ask:
    """A request in line; `key` is the identity of its voice, `arrived` a reading of the clock."""

    ticket: int
    key: str
    priority: Priority
    arrived: float


@dataclass(frozen=True)
class Running:
    """A conversion under way."""

    key: str
    started: float


@dataclass(frozen=True)
class Lane:
    """A device at one moment; `slots` is at least 1, `states` holds voices' by their keys."""

    index: int
    slots: int
    is_up: bool = True
    running: tuple[Running, ...] = ()
    states: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Costs:
    """What a conversion takes on average, and what comes on top if its voice is not ready."""

    run_s: float
    load_s: float
    restore_s: float


@dataclass(frozen=True)
class Limits:
    """How often a voice may run at once on a lane, and on how many lanes it may be ready."""

    voice_concurrency: int = 1
    max_replicas: int | None = None


@dataclass(frozen=True)
class Wait:
    """Where a request is expected to start, and what it waits for.

    queue: all slots of that lane are busy; voice_busy: a slot is free, but the voice runs there as
    often as it may; no_device: no lane is up, `lane` is None.
    """

    lane: int | None
    reason: Reason


@dataclass(frozen=True)
class Plan:
    """Who starts now, as (ticket, lane), and why each of the others waits."""

    starts: tuple[tuple[int, int], ...]
    waits: Mapping[int, Wait]


def plan(
    asks: Iterable[Ask], lanes: Sequence[Lane], costs: Costs, limits: Limits, now: float
) -> Plan:
    """Send each request, in order of rank, to the lane where it is expected to end first.

    It waits only if that lane cannot start it now; one that has waited `HOLD_OUT_S` waits only if
    no lane that it may use can. Whoever waits leaves free slots to those behind it.
    """
    up = [_Forecast(lane, costs, limits, now) for lane in lanes if lane.is_up]
    starts, waits = list[tuple[int, int]](), dict[int, Wait]()
    for ask in sorted(asks, key=lambda ask: _rank(ask, now)):
        lane = _choose(_candidates(up, ask.key, limits), ask, now)
        if lane is None:
            waits[ask.ticket] = Wait(None, "no_device")
            continue
        if lane.can_start(ask.key):
            starts.append((ask.ticket, lane.index))
        else:
            waits[ask.ticket] = Wait(lane.index, lane.reason())
        lane.add(ask.key)
    return Plan(tuple(starts), waits)


def remaining_s(run_s: float, elapsed_s: float) -> float:
    """How much longer a conversion is expected to run, given the mean.

    One that is late is expected to take as long again as it is late: a recording of half an hour
    must not look as if it would end any moment.
    """
    return abs(run_s - elapsed_s)


def _rank(ask: Ask, now: float) -> tuple[bool, float, int]:
    is_behind = ask.priority is Priority.BATCH and now - ask.arrived < AGEING_S
    return is_behind, ask.arrived, ask.ticket


def _candidates(lanes: list[_Forecast], key: str, limits: Limits) -> list[_Forecast]:
    holders = [lane for lane in lanes if lane.holds(key)]
    is_full = limits.max_replicas is not None and len(holders) >= limits.max_replicas
    return holders if is_full else lanes


def _choose(lanes: list[_Forecast], ask: Ask, now: float) -> _Forecast | None:
    if now - ask.arrived >= HOLD_OUT_S:
        lanes = [lane for lane in lanes if lane.can_start(ask.key)] or lanes
    return min(lanes, key=lambda lane: lane.preference(ask.key), default=None)


_AFFINITY = {"ready": 0, "loading": 0, "offloading": 1, "offloaded": 1, "failed": 3}
_NO_AFFINITY = 2  # unloaded, releasing, never heard of


class _Forecast:
    """What a lane will be doing, while a plan is made; all times are seconds from now."""

    def __init__(self, lane: Lane, costs: Costs, limits: Limits, now: float) -> None:
        self.index = lane.index
        self._costs = costs
        self._voice_limit = limits.voice_concurrency
        self._free_slots = lane.slots - len(lane.running)
        self._running = Counter(run.key for run in lane.running)
        self._voice_ends = defaultdict[str, list[float]](list)
        for run in lane.running:
            self._voice_ends[run.key].append(remaining_s(costs.run_s, now - run.started))
        # Zeros for idle slots. If more run than there are slots, the first to end free none.
        ends = [0.0] * lane.slots + sum(self._voice_ends.values(), [])
        self._slot_ends = sorted(ends)[-lane.slots :]
        known = {key: state for key, state in lane.states.items() if state in _AFFINITY}
        # What runs here has been loaded, or is about to be, whatever the last report says.
        self._states = {**known, **dict.fromkeys(self._running, "ready")}

    def can_start(self, key: str) -> bool:
        """Whether a slot is free and the voice runs less often than it may."""
        return self._free_slots > 0 and self._running[key] < self._voice_limit

    def reason(self) -> Reason:
        """Why a voice that cannot start here cannot."""
        return "voice_busy" if self._free_slots > 0 else "queue"

    def holds(self, key: str) -> bool:
        """Whether the voice is on this device, or on its way."""
        return self._affinity(key) == 0

    def preference(self, key: str) -> tuple[float, bool, int, int, int]:
        """The less the better: soonest end; then lanes that can start now; then affinity.

        Last, voices spread over idle lanes: the one that knows the fewest takes the next.
        """
        end = self._end_s(key)
        return end, not self.can_start(key), self._affinity(key), len(self._states), self.index

    def add(self, key: str) -> None:
        """Count on a conversion here, one that starts now if it can."""
        start, end = self._start_s(key), self._end_s(key)
        if self.can_start(key):
            self._free_slots -= 1
            self._running[key] += 1
        # It takes the slot that idles least before it; what is free until then stays free.
        self._slot_ends[bisect_right(self._slot_ends, start) - 1] = end
        self._slot_ends.sort()
        self._voice_ends[key].append(end)
        self._states[key] = "ready"

    def _affinity(self, key: str) -> int:
        return _AFFINITY.get(self._states.get(key, ""), _NO_AFFINITY)

    def _start_s(self, key: str) -> float:
        ends = sorted(self._voice_ends.get(key, ()))
        voice_free = ends[-self._voice_limit] if len(ends) >= self._voice_limit else 0.0
        return max(self._slot_ends[0], voice_free)

    def _end_s(self, key: str) -> float:
        extra = (0.0, self._costs.restore_s, self._costs.load_s, self._costs.load_s)
        return self._start_s(key) + extra[self._affinity(key)] + self._costs.run_s
