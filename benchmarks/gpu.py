"""Measure what moving models costs on this machine; JSON on standard output.

    python -m benchmarks.gpu                          # the first GPU, or the host without one
    python -m benchmarks.gpu --device cuda:1 --sizes-gb 0.25 1 4

Without a GPU every step is done from host memory to host memory, and the output says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpu.copier import Copier, CudaCopier, HostCopier, host_buffer
from gpu.effects import DeviceEffects, default_effects
from gpu.host_memory import read_host_memory
from gpu.pinning import CudaPinning
from gpu.probe import probe_device
from gpu.state import ModelSpec

GB = 10**9
REPEATS = 5
PARAMETER_FLOATS = 2**22  # 16 MiB each, as the larger layers of real models
LAG_LIMIT_S = 5.0

HostMemoryKind = Callable[["Rig", int], AbstractContextManager[Tensor]]


class Dummy:
    """A model of about `n_bytes`, all of them written to."""

    def __init__(self, n_bytes: int) -> None:
        full, rest = divmod(n_bytes // 4, PARAMETER_FLOATS)
        sizes = [PARAMETER_FLOATS] * full + [rest] * (rest > 0)
        self.modules = [nn.ParameterList(torch.ones(size) for size in sizes)]
        self.nbytes = 4 * sum(sizes)

    def to(self, device: str) -> None:
        """Move the network."""
        self.modules[0].to(device)


@dataclass(frozen=True)
class Rig:
    """A device to measure on: a GPU, or host memory in its place."""

    device: str

    @property
    def is_gpu(self) -> bool:
        """Whether there is a GPU."""
        return self.device.startswith("cuda")

    def copier(self) -> Copier:
        """What copies to the device."""
        return CudaCopier(self.device) if self.is_gpu else HostCopier()

    def effects(self, pin_bytes: int) -> DeviceEffects:
        """What moves models to the device."""
        if self.is_gpu:
            return default_effects(self.device, pin_bytes)
        return DeviceEffects("cpu", copier=HostCopier())


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes once."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def median_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """How long `work` takes, the median of several times after one that does not count."""
    work()
    return statistics.median(seconds(work) for _ in range(repeats))


def measure_copies(rig: Rig, n_bytes: int) -> dict[str, dict[str, float]]:
    """Rates in 10^9 bytes a second, by kind of host memory and direction."""
    rates = {"pageable": copy_rates(rig, pageable, n_bytes)}
    if rig.is_gpu:
        rates["registered"] = copy_rates(rig, registered, n_bytes)
        rates["pinned"] = copy_rates(rig, pinned, n_bytes)
    return rates


def copy_rates(rig: Rig, host_memory: HostMemoryKind, n_bytes: int) -> dict[str, float]:
    """Rates of one kind of host memory, both ways."""
    copier = rig.copier()
    device, fast = copier.allocate(n_bytes), host_memory is not pageable
    with host_memory(rig, n_bytes) as host:
        up_s = median_s(lambda: copier.upload(host, device, fast))
        down_s = median_s(lambda: copier.download(device, host, fast))
    return {"upload_gbps": n_bytes / up_s / GB, "download_gbps": n_bytes / down_s / GB}


@contextmanager
def pageable(_: Rig, n_bytes: int) -> Iterator[Tensor]:
    """Host memory as it is."""
    yield host_buffer(n_bytes).fill_(1)


@contextmanager
def registered(rig: Rig, n_bytes: int) -> Iterator[Tensor]:
    """Host memory that is registered with the CUDA runtime."""
    buffer, pinning = host_buffer(n_bytes).fill_(1), CudaPinning(rig.device)
    if not pinning.register(buffer.data_ptr(), n_bytes):
        raise MemoryError(f"{n_bytes} bytes cannot be registered.")
    yield buffer
    pinning.unregister(buffer.data_ptr())


@contextmanager
def pinned(_: Rig, n_bytes: int) -> Iterator[Tensor]:
    """Host memory from torch's own pinned allocator."""
    yield torch.ones(n_bytes, dtype=torch.uint8).pin_memory()


def measure_registering(rig: Rig, n_bytes: int) -> dict[str, float]:
    """What it costs to pin a buffer, and to undo it."""
    buffer, pinning = host_buffer(n_bytes).fill_(1), CudaPinning(rig.device)
    register_s = seconds(lambda: pinning.register(buffer.data_ptr(), n_bytes))
    unregister_s = seconds(lambda: pinning.unregister(buffer.data_ptr()))
    return {"gb": n_bytes / GB, "register_s": register_s, "unregister_s": unregister_s}


def measure_moves(rig: Rig, n_bytes: int, repeats: int = REPEATS) -> dict[str, float]:
    """Offload and restore of a dummy model: medians, whole calls."""
    effects = rig.effects(pin_bytes=2 * n_bytes)
    offload_s, restore_s = move_times_s(effects, n_bytes, repeats)
    was_pinned = effects.pins is not None and effects.pins.pinned_bytes > 0
    effects.trim()  # the model is gone: its memory goes too
    return {
        "gb": n_bytes / GB,
        "pinned": was_pinned,
        "offload_s": offload_s,
        "restore_s": restore_s,
        "restore_gbps": n_bytes / restore_s / GB,
    }


def move_times_s(effects: DeviceEffects, n_bytes: int, repeats: int) -> tuple[float, float]:
    """Seconds of an offload and of a restore, without the first of each."""
    model = effects.load(ModelSpec("dummy", "benchmark", lambda device: Dummy(n_bytes)))
    offloads, restores = [], []
    for _ in range(repeats + 1):
        offloads.append(seconds(lambda: effects.offload(model, n_bytes)))
        restores.append(seconds(lambda: effects.restore(model)))
    effects.offload(model, n_bytes)
    return statistics.median(offloads[1:]), statistics.median(restores[1:])


def measure_allocator_lag(rig: Rig, n_bytes: int) -> float | None:
    """Seconds from giving memory back until the driver shows it; None after five."""
    copier = rig.copier()
    block = copier.allocate(n_bytes)
    copier.finish()
    before = probe_device(rig.device).free_bytes or 0
    del block
    copier.trim()
    started = time.perf_counter()
    while (lag_s := time.perf_counter() - started) < LAG_LIMIT_S:
        if (probe_device(rig.device).free_bytes or 0) >= before + 0.9 * n_bytes:
            return lag_s
    return None


def measure(rig: Rig, sizes: Sequence[int]) -> dict[str, Any]:
    """All of it, as plain values; sizes that do not fit twice into host memory are left out."""
    fitting = [size for size in sizes if 2.5 * size < read_host_memory().available_bytes]
    result: dict[str, Any] = {
        "device": probe_device(rig.device).name if rig.is_gpu else "none",
        "what": "host to device" if rig.is_gpu else "host to host: no GPU was measured",
        "host": cpu_name(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "left_out_gb": [size / GB for size in sizes if size not in fitting],
        "copies": measure_copies(rig, fitting[0]),
        "moves": [measure_moves(rig, size) for size in fitting],
    }
    if rig.is_gpu:
        result["registering"] = [measure_registering(rig, size) for size in fitting]
        result["context_bytes"] = probe_device(rig.device).context_bytes
        result["allocator_lag_s"] = measure_allocator_lag(rig, fitting[0])
    return result


def cpu_name() -> str:
    """The processor, as the system calls it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description="Measure what moving models costs.")
    default = "cuda:0" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default, help="cuda:N, or cpu for host to host")
    parser.add_argument("--sizes-gb", type=float, nargs="+", default=[0.25, 1, 4])
    options = parser.parse_args(arguments)
    sizes = [int(size * GB) for size in options.sizes_gb]
    json.dump(measure(Rig(options.device), sizes), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
