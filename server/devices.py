"""The devices that models run on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from server.errors import DeviceUnavailable
from server.settings import Settings

if TYPE_CHECKING:
    from gpu_manager import GPUResourceManager

LEASE_SLACK_S = 30.0  # a request whose deadline has come gets this long to notice
MIB = 2**20


def list_devices(settings: Settings) -> tuple[str, ...]:
    """The devices that share the work, at least one; "auto" is left for `open_device`."""
    if settings.voice_devices:
        return tuple("cuda:0" if name == "cuda" else name for name in settings.voice_devices)
    if settings.device == "cpu":
        return ("cpu",)
    n_gpus = _count_gpus(settings.cuda_visible_devices)
    return tuple(f"cuda:{n}" for n in range(n_gpus)) if n_gpus > 1 else (settings.device,)


def open_device(wanted: str, n_threads: int) -> str:
    """Resolve auto, cpu, cuda or cuda:N to a device for torch and set torch's CPU threads."""
    import torch

    torch.set_num_threads(n_threads)
    n_gpus = torch.cuda.device_count() if wanted != "cpu" and torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and n_gpus == 0):
        return "cpu"
    number = int(wanted.partition(":")[2] or 0)
    if number >= n_gpus:
        raise DeviceUnavailable(f"{wanted} was asked for, but torch can use {n_gpus} GPUs.")
    return f"cuda:{number}"


def gpu_builder(
    settings: Settings, wanted: str, n_at_once: int
) -> Callable[[], GPUResourceManager]:
    """What builds the manager of one device; building it imports torch.

    `n_at_once` conversions share this machine's cores.
    """

    def build() -> GPUResourceManager:
        from gpu.effects import default_effects
        from gpu.host_memory import read_host_memory
        from gpu.probe import budget_of, probe_device
        from gpu_manager import GPUResourceManager, Limits

        device = open_device(wanted, settings.threads_per_conversion(n_at_once))
        return GPUResourceManager(
            device,
            budget_bytes=budget_of(probe_device(device).total_bytes, settings.gpu_vram_budget),
            limits=Limits(
                host_bytes=settings.host_cache_mb * MIB or read_host_memory().default_cache_bytes,
                counted_models=settings.max_voices,
                lease_s=settings.max_request_seconds + LEASE_SLACK_S,
            ),
            effects=default_effects(device, settings.pin_limit_mb * MIB or None),
        )

    return build


def _count_gpus(shown: str | None) -> int:
    if shown is not None:
        return len([name for name in shown.split(",") if name.strip()])
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
