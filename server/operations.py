"""What operators change while the server works: idle timers, bounds, pins, worker processes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpu.errors import InvalidSpec, WorkerBusy, WorkerLost
from gpu.probe import budget_of
from rvc_core.errors import InvalidOption
from server.errors import NoWorkerProcess
from server.lanes import NOTHING_MOVED
from server.settings import SETTING_SPECS, InvalidSetting, Settings

if TYPE_CHECKING:
    from server.fleet import Fleet
    from server.models import ModelRegistry

logger = logging.getLogger(__name__)

CHANGEABLE = ("gpu_offload_after", "gpu_idle_timeout", "gpu_vram_budget", "max_voices")
SPECS = {spec.name: spec for spec in SETTING_SPECS if spec.name in CHANGEABLE}
ANY_GPU_BYTES = 1 << 40  # to read a share of a device whose size only its own process knows


class Operations:
    """Changes that hold until the server ends; they are not written down."""

    def __init__(self, settings: Settings, fleet: Fleet, registry: ModelRegistry) -> None:
        self._settings = settings
        self._fleet = fleet
        self._registry = registry
        self._changing = threading.Lock()

    def settings(self) -> dict[str, Any]:
        """The values in force, by their names."""
        return {name: getattr(self._settings, name) for name in CHANGEABLE}

    def n_at_hand(self) -> int:
        """How many conversions wait or run."""
        return self._fleet.admission.n_inside

    def n_waiting(self) -> dict[int, int]:
        """How many conversions are expected on which device, by its number."""
        return self._fleet.n_waiting()

    def change(self, changes: Mapping[str, Any]) -> None:
        """Put other values in force on all devices; raise `InvalidOption`, and change none."""
        read = {name: _read(name, value) for name, value in changes.items()}
        if "gpu_vram_budget" in read:
            self._check_budget(read["gpu_vram_budget"])
        with self._changing:
            self._settings = replace(self._settings, **read)
            self._fleet.change(self._settings)

    def renew_processes(self, timeout_s: float, cancel: bool = False) -> dict[str, Any]:
        """Release all models and put new worker processes in place of the old ones.

        A process whose models are in use or pinned is left alone. Raises `NoWorkerProcess`
        where the models are in the server's own process.
        """
        if self._fleet.is_local:
            raise NoWorkerProcess(
                "level is process, but the one device has no process of its own: only a restart "
                "of the server ends it.",
                param="level",
            )
        total = dict(NOTHING_MOVED)
        for lane in self._fleet.workers:
            moved = lane.force("release", None, timeout_s, cancel)
            if not moved["skipped"]:
                try:
                    lane.renew(timeout_s)
                except (WorkerBusy, WorkerLost) as error:
                    logger.warning("%s keeps its process: %s", lane.device, error)
                    refused = {"model": lane.device, "leases": 0, "reason": "failed"}
                    moved = {**moved, "skipped": [refused]}
            total = {key: total[key] + moved[key] for key in total}
        return total

    def _check_budget(self, text: str) -> None:
        has_gpu = any(device.startswith("cuda") for device in self._fleet.devices)
        try:
            budget_of(ANY_GPU_BYTES if has_gpu else None, text)
        except InvalidSpec as error:
            raise InvalidOption(error.message, param="gpu_vram_budget") from None


def _read(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InvalidOption(f"{name} must be {SPECS[name].allowed}.", param=name)
    try:
        return SPECS[name].read(str(value), name)
    except InvalidSetting as error:
        raise InvalidOption(str(error), param=name) from None
