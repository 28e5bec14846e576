"""Pure decisions: whether a model is granted, joined, loaded, waited for or refused, and when.

No function here has an effect, takes a lock, reads a clock or logs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gpu.state import IN_TRANSIT, ModelState, ModelView, Snapshot

MAX_BACKOFF_S = 60.0

DecisionKind = Literal["grant", "join", "load", "evict", "wait", "reject"]
DueAction = Literal["offload", "release"]


@dataclass(frozen=True)
class Decision:
    """What to do for one wanted model.

    grant: hand out a lease; join: queue at the model; load: it fits, start now; evict: move
    `victims` to host memory, then plan again; wait: plan again at the next change; reject: never.
    `reason` of wait: "coming" (enough bytes are on their way) or "busy" (leases must end first).
    """

    kind: DecisionKind
    victims: tuple[int, ...] = ()
    reason: str = ""


def plan(snapshot: Snapshot, key: int, may_evict: bool = True) -> Decision:
    """Decide what a request for the model `key` leads to."""
    view = snapshot.model(key)
    if view.state is ModelState.READY:
        full = view.leases >= view.concurrency or view.waiting > 0 or view.draining
        return Decision("join" if full else "grant")
    if view.state in IN_TRANSIT:
        return Decision("join")
    if view.backoff_until is not None and snapshot.now < view.backoff_until:
        return Decision("reject", reason="load_backoff")
    return _plan_memory(snapshot, view, may_evict)


def _plan_memory(snapshot: Snapshot, view: ModelView, may_evict: bool) -> Decision:
    if snapshot.budget_bytes is None:
        return Decision("load")
    others = [other for other in snapshot.models if other.key != view.key]
    pinned = sum(other.device_bytes for other in others if other.pinned)
    if view.need_bytes > snapshot.budget_bytes - pinned:
        return Decision("reject", reason="insufficient_memory")
    deficit = view.need_bytes - (snapshot.budget_bytes - snapshot.ledger_bytes)
    if deficit <= 0:
        return Decision("load")
    if not may_evict:
        return Decision("wait", reason="busy")
    leaving = (ModelState.OFFLOADING, ModelState.RELEASING)
    deficit -= sum(other.device_bytes for other in others if other.state in leaving)
    if deficit <= 0:
        return Decision("wait", reason="coming")
    victims = choose_victims(others, deficit)
    return Decision("evict", victims) if victims else Decision("wait", reason="busy")


def choose_victims(models: list[ModelView], deficit: int) -> tuple[int, ...]:
    """Idle models whose bytes cover `deficit`, least recently used first; empty if none do."""
    idle = [view for view in models if is_idle(view) and not view.pinned and view.device_bytes]
    chosen: list[ModelView] = []
    for view in sorted(idle, key=lambda view: view.idle_since):
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
    in_use = view.leases or view.waiting or view.draining
    return view.state is ModelState.READY and not in_use


def offload_at(view: ModelView) -> float:
    """When the idle timer moves the model to host memory; infinite = never."""
    return _due(view, view.offload_after_s) if is_idle(view) else math.inf


def release_at(view: ModelView) -> float:
    """When the idle timer drops the model; infinite = never."""
    waits_in_host = view.state is ModelState.OFFLOADED and not view.waiting and not view.draining
    return _due(view, view.release_after_s) if waits_in_host or is_idle(view) else math.inf


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
