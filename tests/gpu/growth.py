"""Measures how a process grows while models come and go, in a process that does nothing else.

python -m tests.gpu.growth CYCLES MEGABYTES plain|shadowed steady|leaky
"""

from __future__ import annotations

import ctypes
import gc
import json
import statistics
import sys

import torch
from torch import nn

from gpu.copier import HostCopier
from gpu.effects import DeviceEffects
from gpu.host_memory import read_host_memory
from gpu.state import ModelSpec
from gpu_manager import GPUResourceManager

MB = 2**20
SAMPLE_EVERY = 25
WARM_UP = 50  # cycles in which allocators and threads take what they keep
M_MMAP_THRESHOLD = -3  # of mallopt


class NetworkModel:
    """A network of some megabytes, all of them written to: else they would not exist."""

    def __init__(self, n_mb: int) -> None:
        self.modules = [nn.ParameterList(torch.ones(MB // 4) for _ in range(n_mb))]
        self.nbytes = n_mb * MB

    def to(self, device: str) -> None:
        self.modules[0].to(device)


class LeakyEngine:
    """Loads models and keeps a tenth of a megabyte of each."""

    def __init__(self) -> None:
        self.kept: list[torch.Tensor] = []

    def load(self, device: str) -> NetworkModel:
        self.kept.append(torch.ones(MB // 10, dtype=torch.uint8))
        return NetworkModel(1)


def spec(n_mb: int) -> ModelSpec:
    return ModelSpec("model", "fake", load=lambda device: NetworkModel(n_mb))


def resident_mb(spec: ModelSpec, copier: HostCopier | None, n_cycles: int) -> list[float]:
    """Size of the process after every 25th cycle, in MB."""
    effects = DeviceEffects("cpu", copier=copier)
    manager = GPUResourceManager("cpu", effects=effects, reaper=False)
    manager.register(spec)
    sizes = []
    for cycle in range(1, n_cycles + 1):
        with (lease := manager.acquire("model")):
            assert lease.state_at_arrival == "unloaded"
        assert manager.force_offload("model").offloaded
        with (lease := manager.acquire("model")):
            assert lease.state_at_arrival == "offloaded"
        assert manager.force_release("model").released
        if cycle % SAMPLE_EVERY == 0:
            gc.collect()
            sizes.append(read_host_memory().rss_bytes / MB)
    assert manager.get_status()["devices"][0]["models"][0]["leak_suspected"] == 0
    manager.close()
    return sizes


def drift_mb(sizes: list[float]) -> float:
    """Growth in MB per hundred cycles after the warm-up: the slope of the line of least squares."""
    sizes = sizes[WARM_UP // SAMPLE_EVERY :]
    cycles = [SAMPLE_EVERY * sample for sample in range(len(sizes))]
    return 100 * statistics.linear_regression(cycles, sizes).slope


def main(n_cycles: int, n_mb: int, kind: str, engine: str) -> None:
    """Print the growth in MB per hundred cycles, and how many tensors were kept."""
    # Have the C library return big blocks at once: how many it keeps comes and goes.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 128 * 1024)
    gc.freeze()  # a look at all that was there before takes 0.1 s
    leaky = LeakyEngine()
    model = ModelSpec("model", "leaky", leaky.load) if engine == "leaky" else spec(n_mb)
    copier = HostCopier() if kind == "shadowed" else None
    growth = drift_mb(resident_mb(model, copier, n_cycles))
    sys.stdout.write(json.dumps({"growth_mb": growth, "kept": len(leaky.kept)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
