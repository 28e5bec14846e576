"""The GPU resource manager: leases on models, idle timers, forced moves, status."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from gpu.device import NO_LIMITS, DeviceManager
from gpu.effects import Effects, default_effects
from gpu.force import ForceResult
from gpu.lease import Lease
from gpu.peak import run_and_measure
from gpu.probe import probe_device
from gpu.state import Limits, Model, ModelSpec, RequestToken, Terms
from gpu.status import DeviceFacts, copy_facts, to_status
from gpu.watch import sampler

T = TypeVar("T")

__all__ = [
    "ForceResult",
    "GPUResourceManager",
    "Lease",
    "Limits",
    "ModelSpec",
    "MultiModelGPUManager",
]


class GPUResourceManager:
    """Keeps models on `device` ("cpu", "cuda:0") only while they are used.

    `budget_bytes` bounds what all models take there (None = no bound). With `reaper=False` idle
    timers run only in `run_due`, for tests with a clock of their own.
    """

    def __init__(
        self,
        device: str = "cpu",
        clock: Callable[[], float] = time.monotonic,
        budget_bytes: int | None = None,
        effects: Effects | None = None,
        limits: Limits = NO_LIMITS,
        reaper: bool = True,
    ) -> None:
        self.device = device
        effects = effects or default_effects(device)
        self._effects = effects
        self._is_gpu = device.startswith("cuda")
        self._manager = DeviceManager(effects, clock, budget_bytes, limits)
        # On a CPU device and host share their memory: only a release frees any.
        relief: Literal["offload", "release"] = "offload" if self._is_gpu else "release"
        self._watch = self._manager.watch_memory(sampler(device), relief)
        if reaper:
            self._manager.start_reaper()

    def register(self, spec: ModelSpec) -> None:
        """Make a model known; another spec under a known id replaces it, holders keep theirs."""
        self._manager.register(spec)

    def unregister(self, model_id: str) -> None:
        """Forget a model; it is released when its leases end."""
        self._manager.unregister(model_id)

    def acquire(
        self,
        model_id: str,
        token: RequestToken | None = None,
        holder: str = "",
        batch: bool = False,
        keep_alive_s: float | None = None,
    ) -> Lease:
        """Lease a model, loading it if need be: `with manager.acquire(id) as model`.

        `batch` requests wait behind others for up to half a minute; `keep_alive_s` takes the
        place of the model's timers after this lease (0 = leaves its device at once, -1 = stays
        while there is room).
        Raises what `token.check()` raises, or a `GpuError`: `model_not_found`, `load_failed`,
        `load_backoff`, `insufficient_memory`, `insufficient_vram`, `draining`.
        """
        return self._manager.acquire(model_id, token, Terms(holder, batch, keep_alive_s))

    get_model = acquire  # the name that callers of other managers know

    def borrow(self, model_id: str, holder: str = "") -> Lease:
        """Lease a model in passing: its idle timers run on, and it is never loaded for this.

        Raises the `GpuError` `not_ready` unless it is on its device and free.
        """
        return self._manager.acquire(model_id, None, Terms(holder, passing=True))

    def set_pinned(self, model_id: str, pinned: bool) -> None:
        """Keep a model from timers and evictions, or no longer."""
        self._manager.set_pinned(model_id, pinned)

    def work_with(self, model_id: str, work: Callable[[], T]) -> T:
        """Do `work` with a leased model and remember how much memory it took beside it."""
        result, peak = run_and_measure(self.device, work)
        if peak is not None:
            self._manager.note_peak(model_id, peak)
        return result

    def make_room(self, model_id: str | None = None) -> int:
        """Offload idle models as work with a model has run out of memory; return the bytes freed.

        As much as such work is known to take and a fifth more; if that is not known, all of them.
        """
        return self._manager.make_room(model_id)

    def on_pressure(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with each new level of memory pressure: none, soft, hard, critical."""
        self._watch.subscribers.append(lambda level: tell(level.name.lower()))

    def on_memory_failure(self, drop_caches: Callable[[], None]) -> None:
        """Have `drop_caches` called first when the device is out of memory."""
        self._manager.on_memory_failure(drop_caches)

    def set_timers(self, model_id: str, offload_after_s: float, release_after_s: float) -> None:
        """Give a model other idle timers; they count from its last use, as before."""
        self._manager.tuner.set_timers(model_id, offload_after_s, release_after_s)

    def set_bounds(self, budget_bytes: int | None, counted_models: int | None) -> None:
        """Give the device another budget and number of counted models; what is over them goes."""
        self._manager.tuner.set_bounds(budget_bytes, counted_models)

    def force_offload(
        self, model_id: str | None = None, timeout_s: float = 10.0, cancel: bool = False
    ) -> ForceResult:
        """Move a model, or all that are not pinned, to host memory; wait for leases to end.

        With `cancel` their requests are told to end first.
        """
        return self._manager.force(model_id, "offload", timeout_s, cancel)

    def force_release(
        self, model_id: str | None = None, timeout_s: float = 10.0, cancel: bool = False
    ) -> ForceResult:
        """Drop a model, or all that are not pinned; wait for leases to end, or `cancel` them."""
        return self._manager.force(model_id, "release", timeout_s, cancel)

    def run_due(self) -> int:
        """Do what idle timers ask for now, in this thread; return the number of moves."""
        return self._manager.run_due()

    def get_status(self) -> dict[str, Any]:
        """The device and its models as plain values; times are seconds since 1970."""
        facts = DeviceFacts(
            memory=self._watch.device or probe_device(self.device),
            pressure=self._watch.level.name.lower(),
            copies=copy_facts(self._effects),
            heartbeat_age_s=self._manager.heartbeat_age_s(),
        )
        mode = "single" if self._is_gpu else "cpu"
        return to_status(self._manager.snapshot(), facts, mode, time.time())

    def states(self) -> dict[str, str]:
        """The state of each model by its id; cheaper than the whole status."""
        views = self._manager.snapshot().models
        return {view.id: view.state.value for view in views if not view.retired}

    def heartbeat_age_s(self) -> float:
        """Seconds since the timers were last looked at; about a second when all is well."""
        return self._manager.heartbeat_age_s()

    def close(self, timeout_s: float = 10.0) -> ForceResult:
        """Shut down: refuse newcomers, wait for leases, release all, end the timer thread."""
        return self._manager.close(timeout_s)


class MultiModelGPUManager:
    """Many models by name on one `GPUResourceManager`."""

    def __init__(self, manager: GPUResourceManager) -> None:
        self._manager = manager

    def register_model(self, name: str, load: Callable[[str], Model], **options: Any) -> None:
        """Make a model known; `options` are further fields of `ModelSpec`."""
        self._manager.register(
            ModelSpec(**{"engine": "custom", **options, "id": name, "load": load})
        )

    def get_model(self, name: str, token: RequestToken | None = None, holder: str = "") -> Lease:
        """Lease a model."""
        return self._manager.acquire(name, token, holder)

    def offload_all(self, timeout_s: float = 10.0) -> ForceResult:
        """Move all models that are not pinned to host memory."""
        return self._manager.force_offload(None, timeout_s)

    def release_all(self, timeout_s: float = 10.0) -> ForceResult:
        """Drop all models that are not pinned."""
        return self._manager.force_release(None, timeout_s)

    def get_all_status(self) -> dict[str, Any]:
        """The state of every model."""
        return self._manager.get_status()
