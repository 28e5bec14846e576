"""The books as plain values for JSON; times are seconds since 1970."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from gpu.effects import DeviceEffects, Effects
from gpu.host_memory import read_host_memory
from gpu.plan import offload_at, release_at
from gpu.probe import DeviceMemory
from gpu.state import Limits, ModelState, ModelView, Snapshot


@dataclass(frozen=True)
class CopyFacts:
    """Master copies in host memory, how much of them is pinned, and how fast the last one went."""

    upload_gbps: float | None = None
    shadow_bytes: int = 0
    pinned_bytes: int = 0
    pinned_limit: int = 0


@dataclass(frozen=True)
class DeviceFacts:
    """What is not in the books: the device's memory, how short it is, and copies to it.

    `heartbeat_age_s` is how long ago idle timers were last looked at.
    """

    memory: DeviceMemory
    pressure: str
    copies: CopyFacts
    heartbeat_age_s: float = 0.0


def copy_facts(effects: Effects) -> CopyFacts:
    """What `effects` says about its copies; zeros if it makes none."""
    if not isinstance(effects, DeviceEffects):
        return CopyFacts()
    pinned, limit = (0, 0)
    if effects.pins is not None:
        pinned, limit = effects.pins.pinned_bytes, effects.pins.limit_bytes
    return CopyFacts(effects.upload_gbps, effects.host_bytes, pinned, limit)


def to_status(
    snapshot: Snapshot, facts: DeviceFacts, mode: str, generated_at: float
) -> dict[str, Any]:
    """Describe one device and its models, and this process's share of the host."""

    def wall(reading: float | None) -> float | None:
        if reading is None or math.isinf(reading):
            return None
        return round(generated_at + reading - snapshot.now, 3)

    memory = facts.memory
    device = {
        "index": memory.index,
        "uuid": memory.uuid,
        "name": memory.name,
        "total_bytes": memory.total_bytes,
        "driver_free_bytes": memory.free_bytes,
        "external_bytes": memory.external_bytes,
        "budget_bytes": snapshot.budget_bytes,
        "ledger_bytes": snapshot.ledger_bytes,
        "reserved_unused_bytes": memory.reserved_unused_bytes,
        "context_bytes": memory.context_bytes,
        "pressure": facts.pressure,
        "heartbeat_age_s": facts.heartbeat_age_s,
        # Nothing is copied back: an offload drops the device's copy.
        "copy": {"h2d_gbps": facts.copies.upload_gbps, "d2h_gbps": None},
        "totals": asdict(snapshot.totals),
        "models": [_model(view, snapshot.now, wall) for view in snapshot.models],
    }
    return {
        "generated_at": round(generated_at, 3),
        "mode": mode,
        "devices": [device],
        "host": _host(snapshot, facts.copies),
        "config": _config(snapshot.limits),
    }


def _host(snapshot: Snapshot, copies: CopyFacts) -> dict[str, Any]:
    host = read_host_memory()
    kept = [v.need_bytes for v in snapshot.models if v.state is ModelState.OFFLOADED]
    return {
        "cache_bytes": sum(kept),
        "cache_limit": snapshot.limits.host_bytes,
        "shadow_bytes": copies.shadow_bytes,
        "pinned_bytes": copies.pinned_bytes,
        "pinned_limit": copies.pinned_limit,
        "rss_bytes": host.rss_bytes,
        "cgroup_limit": host.cgroup_bytes,
    }


def _config(limits: Limits) -> dict[str, Any]:
    return {"max_counted_models": limits.counted_models, "max_lease_s": limits.lease_s}


def _model(
    view: ModelView, now: float, wall: Callable[[float | None], float | None]
) -> dict[str, Any]:
    backs_off = view.backoff_until is not None and view.backoff_until > now
    return {
        "id": view.id,
        "engine": view.engine,
        "state": view.state.value,
        "source": view.source,
        "epoch": view.epoch,
        "leases": view.leases,
        "waiting": view.waiting,
        "concurrency": view.concurrency,
        "holders": [asdict(holder) for holder in view.holders],
        "pinned": view.pinned,
        "draining": view.draining,
        "retired": view.retired,
        "latched": view.latched,
        "bytes": view.need_bytes,
        "device_bytes": view.device_bytes,
        "peak_activation_bytes": view.peak_bytes,
        "last_used": wall(view.last_used),
        "offload_at": wall(offload_at(view)),
        "release_at": wall(release_at(view)),
        **asdict(view.counters),
        "last_load_s": view.last_load_s,
        "last_restore_s": view.last_restore_s,
        "last_error": view.last_error,
        "backoff_until": wall(view.backoff_until) if backs_off else None,
    }
