"""The books as plain values for JSON; times are seconds since 1970."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from gpu.plan import offload_at, release_at
from gpu.probe import DeviceMemory
from gpu.state import ModelView, Snapshot


def to_status(
    snapshot: Snapshot, memory: DeviceMemory, mode: str, generated_at: float
) -> dict[str, Any]:
    """Describe one device and its models."""

    def wall(reading: float | None) -> float | None:
        if reading is None or math.isinf(reading):
            return None
        return round(generated_at + reading - snapshot.now, 3)

    device = {
        "index": memory.index,
        "name": memory.name,
        "total_bytes": memory.total_bytes,
        "driver_free_bytes": memory.free_bytes,
        "budget_bytes": snapshot.budget_bytes,
        "external_bytes": snapshot.outside_bytes,
        "ledger_bytes": snapshot.ledger_bytes,
        "models": [_model(view, snapshot.now, wall) for view in snapshot.models],
    }
    return {"generated_at": round(generated_at, 3), "mode": mode, "devices": [device]}


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
        "last_used": wall(view.last_used),
        "offload_at": wall(offload_at(view)),
        "release_at": wall(release_at(view)),
        **asdict(view.counters),
        "last_load_s": view.last_load_s,
        "last_restore_s": view.last_restore_s,
        "last_error": view.last_error,
        "backoff_until": wall(view.backoff_until) if backs_off else None,
    }
