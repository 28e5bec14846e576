"""Pure decisions: whether a model is granted, joined, loaded, waited for or refused, and when.

No function here has an effect, takes a lock, reads a clock or logs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gpu.state import IN_TRANSIT, ModelState, ModelView, Snapshot

MAX_BACKOFF_S = 60.0
LATCH_AFTER_S = 15.0  # a load waits this long for busy models before it bars newcomers from them

DecisionKind = Literal["grant", "join", "load", "evict", "latch", "wait", "reject"]
DueAction = Literal["offload", "release"]


@dataclass(frozen=True)
class Decision:
    """What to do for one wanted model.

    grant: hand out a lease; join: queue at the model; load: it fits, start now; evict: move
    `victims` to host memory, then plan again; latch: let no newcomer have `victims`, so that
    their leases end; wait: plan again at the next change; reject: never.
    `reason` of wait: "coming" (enough bytes are on their way) or "busy" (leases must end first);
    of reject: "load_backoff", "insufficient_memory" or "insufficient_vram" (others hold it).
    """

    kind: DecisionKind
    victims: tuple[int, ...] = ()
    reason: str = ""


def plan(snapshot: Snapshot, key: int, may_evict: bool = True) -> Decision:
    """Decide what a request for the model `key` leads to."""
    view = snapshot.model(key)
    if view.state is ModelState.READY:
        barred = view.draining or view.latched
        full = view.leases >= view.concurrency or view.waiting > 0 or barred
        return Decision("join" if full else "grant")
    if view.state in IN_TRANSIT:
        return Decision("join")
    if view.backoff_until is not None and snapshot.now < view.backoff_until:
        return Decision("reject", reason="load_backoff")
    return _plan_memory(snapshot, view, may_evict)


def _plan_memory(snapshot: Snapshot, view: ModelView, may_evict: bool) -> Decision:
    budget, room = snapshot.budget_bytes, snapshot.room_bytes
    if budget is None or room is None:
        return Decision("load")
    others = [other for other in snapshot.models if other.key != view.key]
    pinned = sum(other.device_bytes for other in others if other.pinned)
    if view.need_bytes > room - pinned:
        too_big = view.need_bytes > budget - pinned
        return Decision("reject", reason="insufficient_memory" if too_big else "insufficient_vram")
    deficit = view.need_bytes - (room - snapshot.ledger_bytes)
    if deficit <= 0:
        return Decision("load")
    if not may_evict:
        return Decision("wait", reason="busy")
    leaving = (ModelState.OFFLOADING, ModelState.RELEASING)
    deficit -= sum(other.device_bytes for other in others if other.state in leaving)
    if deficit <= 0:
        return Decision("wait", reason="coming")
    victims = choose_victims(others, deficit, is_evictable)
    return Decision("evict", victims) if victims else _wait_or_latch(snapshot, view, deficit)


def _wait_or_latch(snapshot: Snapshot, view: ModelView, deficit: int) -> Decision:
    if snapshot.now < latch_at(view):
        return Decision("wait", reason="busy")
    others = [other for other in snapshot.models if other.key != view.key]
    deficit -= sum(other.device_bytes for other in others if other.latched)
    if deficit <= 0:
        return Decision("wait", reason="busy")
    victims = choose_victims(others, deficit, lambda o: o.state is ModelState.READY)
    return Decision("latch", victims) if victims else Decision("wait", reason="busy")


def choose_victims(
    models: list[ModelView], deficit: int, may_go: Callable[[ModelView], bool]
) -> tuple[int, ...]:
    """Models whose bytes cover `deficit`, least recently used first; empty if none do."""
    candidates = [v for v in models if may_go(v) and not v.pinned and v.device_bytes]
    chosen: list[ModelView] = []
    for view in sorted(candidates, key=lambda view: (view.leases > 0, view.idle_since)):
        if sum(victim.device_bytes for victim in chosen) >= deficit:
            break
        chosen.append(view)
    surplus = sum(victim.device_bytes for victim in chosen) - deficit
    if surplus < 0:
        return ()
    for victim in list(chosen):  # a small old model need not go when a bigger one covers it all
        if victim.device_bytes <= surplus:
            chosen.remove(victim)
            surplus -= victim.device_bytes
    return tuple(victim.key for victim in chosen)


def is_idle(view: ModelView) -> bool:
    """Whether the model is on its device and nobody uses it or waits for it."""
    return is_evictable(view) and not view.waiting


def is_evictable(view: ModelView) -> bool:
    """Whether the model may leave its device now; who waits for a latched one goes on waiting."""
    in_use = view.leases or view.draining or (view.waiting and not view.latched)
    return view.state is ModelState.READY and not in_use


def waits_in_host(view: ModelView) -> bool:
    """Whether the model is in host memory and nobody waits for it."""
    return view.state is ModelState.OFFLOADED and not view.waiting and not view.draining


def surplus_models(snapshot: Snapshot) -> tuple[int, ...]:
    """Models to release because host memory or their number is over its bound, oldest first."""
    limits, going = snapshot.limits, dict[int, None]()
    staying = [view for view in snapshot.models if not view.retired]
    by_age = sorted(staying, key=lambda view: view.idle_since)
    if limits.counted_models is not None:
        counted = [v for v in by_age if v.counted and v.state in _IN_MEMORY]
        too_many = max(0, len(counted) - limits.counted_models)
        idle = [v for v in counted if not v.pinned and (is_idle(v) or waits_in_host(v))]
        going.update(dict.fromkeys(v.key for v in idle[:too_many]))
    if limits.host_bytes is not None:
        host = [v for v in by_age if v.state is ModelState.OFFLOADED and v.key not in going]
        too_much = sum(v.need_bytes for v in host) - limits.host_bytes
        for view in [v for v in host if waits_in_host(v) and not v.pinned]:
            if too_much <= 0:
                break
            going[view.key] = None
            too_much -= view.need_bytes
    return tuple(going)


_IN_MEMORY = (ModelState.LOADING, ModelState.READY, ModelState.OFFLOADING, ModelState.OFFLOADED)


def latch_at(view: ModelView) -> float:
    """When a load that waits for busy models bars newcomers from them; infinite = does not wait."""
    return math.inf if view.wanted_since is None else view.wanted_since + LATCH_AFTER_S


def offload_at(view: ModelView) -> float:
    """When the idle timer moves the model to host memory; infinite = never."""
    return _due(view, view.offload_after_s) if is_idle(view) else math.inf


def release_at(view: ModelView) -> float:
    """When the idle timer drops the model; infinite = never."""
    can_go = waits_in_host(view) or is_idle(view)
    return _due(view, view.release_after_s) if can_go else math.inf


def _due(view: ModelView, after_s: float) -> float:
    return math.inf if view.pinned or after_s < 0 else view.idle_since + after_s


def due_action(view: ModelView, now: float) -> DueAction | None:
    """What a timer asks for at `now`; dropping wins over moving, which it would undo."""
    if release_at(view) <= now:
        return "release"
    return "offload" if offload_at(view) <= now else None


def backoff_s(failures: int) -> float:
    """Seconds without a new attempt after the n-th failed load in a row: 1, 2, 4 ... 60."""
    return float(min(MAX_BACKOFF_S, 2.0 ** min(failures - 1, 10)))
