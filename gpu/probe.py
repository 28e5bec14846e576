"""What the driver says about a device; asks it without a CUDA context of its own."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from gpu.errors import InvalidSpec

SHARE = 0.92  # of a device; the rest is lost to fragments and to kernels being loaded
RESERVE_BYTES = 2**30  # for the work itself
UNITS = {
    "": 1,
    **{f"{prefix}B": 1000**n for n, prefix in enumerate(("", "K", "M", "G", "T"))},
    **{f"{prefix}iB": 1024**n for n, prefix in enumerate(("K", "M", "G", "T"), start=1)},
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


@dataclass(frozen=True)
class DeviceMemory:
    """A device's name and bytes; None = unknown, as on a CPU.

    `reserved_unused_bytes` are kept by torch for its next tensors, `context_bytes` are what CUDA
    itself takes for this process. `external_bytes` is all that is used beyond what is known to be
    this process's; where the context is not known it is among them.
    """

    index: int
    name: str
    total_bytes: int | None = None
    free_bytes: int | None = None
    uuid: str | None = None
    external_bytes: int | None = None
    reserved_unused_bytes: int | None = None
    context_bytes: int | None = None


def probe_device(device: str) -> DeviceMemory:
    """Describe "cpu" or "cuda:N"; takes a millisecond and never starts CUDA."""
    if not device.startswith("cuda"):
        return DeviceMemory(0, device)
    return _probe_cuda(int(device.partition(":")[2] or 0))


def budget_of(device_total: int | None, wanted: str) -> int | None:
    """Bytes that models may take on a device of `device_total` bytes (None: a CPU); None: no bound.

    `wanted` is empty, a fraction of the device ("0.5"), or a size ("6000000000", "6GB", "512MiB").
    A GPU's budget is never more than 92 % of it less 1 GiB, which is also what empty means.
    """
    most = None if device_total is None else max(0, int(SHARE * device_total) - RESERVE_BYTES)
    if not wanted.strip():
        return most
    n_bytes = _parse_size(wanted, device_total)
    return n_bytes if most is None else min(n_bytes, most)


def _parse_size(wanted: str, device_total: int | None) -> int:
    match = _SIZE.fullmatch(wanted.strip())
    units = {name.lower(): factor for name, factor in UNITS.items()}
    if match is None or match[2].lower() not in units or float(match[1]) == 0:
        raise _no_budget(wanted)
    number, unit = float(match[1]), match[2].lower()
    if unit or "." not in match[1]:
        return int(number * units[unit]) if unit else int(match[1])
    if device_total is None or number > 1:
        raise _no_budget(wanted)
    return int(number * device_total)


def _no_budget(wanted: str) -> InvalidSpec:
    return InvalidSpec(
        f"{wanted!r} is no memory budget; say bytes (6000000000), a size (6GB, 512MiB) "
        "or, for a GPU, a fraction of it (0.5)."
    )


def _probe_cuda(index: int) -> DeviceMemory:
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = _handle(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
        own_bytes = _own_bytes(handle)
        name, uuid = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle)
    except (pynvml.NVMLError, LookupError, RuntimeError):
        return _without_driver(index)
    reserved, allocated = _torch_bytes(index)
    # In a container the driver may list this process under another number, or not at all.
    context = own_bytes - reserved if own_bytes is not None and own_bytes >= reserved else None
    return DeviceMemory(
        index,
        name,
        total_bytes=int(memory.total),
        free_bytes=int(memory.free),
        uuid=uuid,
        external_bytes=max(0, int(memory.used) - reserved - (context or 0)),
        reserved_unused_bytes=reserved - allocated,
        context_bytes=context,
    )


def _handle(index: int) -> Any:
    """The driver's handle of the device that torch means by `index`.

    CUDA_VISIBLE_DEVICES renumbers CUDA's devices, but not the driver's, and may name them by UUID.
    Once CUDA runs, the identity of the device is certain; before, torch reads the variable.
    """
    import pynvml
    import torch

    if _cuda_runs():
        uuid = torch.cuda.get_device_properties(index).uuid
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    # Private, but what torch's public functions that ask the driver go by.
    return pynvml.nvmlDeviceGetHandleByIndex(torch.cuda._get_nvml_device_index(index))


def _cuda_runs() -> bool:
    import torch

    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _own_bytes(handle: Any) -> int | None:
    """What the driver charges to this process; None if it does not list it."""
    import pynvml

    if not _cuda_runs():
        return 0
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return next((p.usedGpuMemory for p in processes if p.pid == os.getpid()), None)


def _torch_bytes(index: int) -> tuple[int, int]:
    """What torch's allocator took from the driver, and what of it tensors use."""
    if not _cuda_runs():
        return 0, 0
    import torch

    return torch.cuda.memory_reserved(index), torch.cuda.memory_allocated(index)


def _without_driver(index: int) -> DeviceMemory:
    if not _cuda_runs():
        return DeviceMemory(index, f"cuda:{index}")
    import torch

    properties = torch.cuda.get_device_properties(index)
    return DeviceMemory(index, properties.name, properties.total_memory)
