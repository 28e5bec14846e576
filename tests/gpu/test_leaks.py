"""A thousand loads, offloads, restores and releases leave the process as big as it was."""

from __future__ import annotations

import ctypes
import gc
import statistics
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from gpu.copier import HostCopier
from gpu.effects import DeviceEffects
from gpu.host_memory import read_host_memory
from gpu.state import ModelSpec
from gpu_manager import GPUResourceManager

MB = 2**20
N_CYCLES = 1000
SAMPLE_EVERY = 25
WARM_UP = 50  # cycles in which allocators and threads take what they keep
ALLOWED_MB = 1.0  # per hundred cycles
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


@pytest.fixture(autouse=True)
def steady_heap() -> Iterator[None]:
    """Have the C library return big blocks at once: how many it keeps for later comes and goes."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, 128 * 1024)
    yield
    libc.mallopt(M_MMAP_THRESHOLD, 32 * MB)  # where its own rule ends up


@pytest.fixture(autouse=True)
def young_garbage_only() -> Iterator[None]:
    """Keep the collector from what was there before: a look at all of it takes 0.1 s."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize(
    ("copier", "n_mb"), [(None, 2), (HostCopier(), 1)], ids=["moved by itself", "shadowed"]
)
def test_a_thousand_cycles_leave_nothing_behind(copier: HostCopier | None, n_mb: int) -> None:
    assert drift_mb(resident_mb(spec(n_mb), copier, N_CYCLES)) <= ALLOWED_MB


@pytest.mark.parametrize("copier", [None, HostCopier()], ids=["moved by itself", "shadowed"])
def test_an_engine_that_keeps_a_tenth_of_a_megabyte_is_caught(copier: HostCopier | None) -> None:
    engine = LeakyEngine()
    leaky = ModelSpec("model", "leaky", load=engine.load)
    assert drift_mb(resident_mb(leaky, copier, 200)) > ALLOWED_MB
    assert len(engine.kept) == 200
