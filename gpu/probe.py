"""What the driver says about a device; asks it without a CUDA context of its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceMemory:
    """A device's name and bytes; None = unknown, as on a CPU."""

    index: int
    name: str
    total_bytes: int | None = None
    free_bytes: int | None = None


def probe_device(device: str) -> DeviceMemory:
    """Describe "cpu" or "cuda:N"."""
    if not device.startswith("cuda"):
        return DeviceMemory(0, device)
    index = int(device.partition(":")[2] or 0)
    return _probe_cuda(index)


def _probe_cuda(index: int) -> DeviceMemory:
    import pynvml
    import torch

    properties = torch.cuda.get_device_properties(index)
    try:
        pynvml.nvmlInit()
        # By identity: CUDA_VISIBLE_DEVICES renumbers CUDA's devices, but not the driver's.
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:
        return DeviceMemory(index, properties.name, properties.total_memory)
    return DeviceMemory(index, properties.name, int(memory.total), int(memory.free))
