"""What is known of a device, with and without a driver; and the budget that follows from it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from gpu.errors import InvalidSpec
from gpu.probe import DeviceMemory, budget_of, probe_device

GIB = 2**30


class DriverError(Exception):
    """Stands for the driver library's own."""


@dataclass
class Machine:
    """Two cards whose order torch sees turned around, and a process that uses the second."""

    driver_works: bool = True
    cuda_runs: bool = True
    visible: list[int] = field(default_factory=lambda: [1, 0])  # the driver's numbers, as torch's
    own_bytes: int | None = 300
    listed_pid: int = field(default_factory=os.getpid)
    started: bool = False

    def properties(self, index: int) -> Any:
        self.started = True
        return SimpleNamespace(name="Card", total_memory=1000, uuid=f"id{self.visible[index]}")

    def by_uuid(self, uuid: str) -> int:
        if not self.driver_works:
            raise DriverError
        return int(uuid.removeprefix("GPU-id"))

    def by_index(self, index: int) -> int:
        return self.by_uuid(f"GPU-id{index}")

    def memory(self, card: int, version: object) -> Any:
        assert version == "v2"  # the first version counts the driver's own share as used
        return SimpleNamespace(total=1024 * (card + 1), free=500, used=512)

    def processes(self, card: int) -> list[Any]:
        other = SimpleNamespace(pid=-1, usedGpuMemory=7)
        return [other, SimpleNamespace(pid=self.listed_pid, usedGpuMemory=self.own_bytes)]

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cuda = SimpleNamespace(
            is_initialized=lambda: self.cuda_runs,
            get_device_properties=self.properties,
            memory_reserved=lambda index: 200,
            memory_allocated=lambda index: 150,
            _get_nvml_device_index=lambda index: self.visible[index],
        )
        driver = SimpleNamespace(
            NVMLError=DriverError,
            nvmlMemory_v2="v2",
            nvmlInit=lambda: None,
            nvmlDeviceGetHandleByUUID=self.by_uuid,
            nvmlDeviceGetHandleByIndex=self.by_index,
            nvmlDeviceGetMemoryInfo=self.memory,
            nvmlDeviceGetComputeRunningProcesses=self.processes,
            nvmlDeviceGetName=lambda card: f"Card {card}",
            nvmlDeviceGetUUID=lambda card: f"GPU-id{card}",
        )
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
        monkeypatch.setitem(sys.modules, "pynvml", driver)


def probe(monkeypatch: pytest.MonkeyPatch, machine: Machine, device: str) -> DeviceMemory:
    machine.install(monkeypatch)
    return probe_device(device)


def test_a_cpu_has_a_name_and_nothing_to_measure() -> None:
    assert probe_device("cpu") == DeviceMemory(0, "cpu")


def test_the_driver_is_asked_for_the_card_that_torch_means(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert probe(monkeypatch, Machine(), "cuda:0") == DeviceMemory(
        index=0,
        name="Card 1",
        total_bytes=2048,
        free_bytes=500,
        uuid="GPU-id1",
        external_bytes=212,  # 512 used, 300 by this process
        reserved_unused_bytes=50,
        context_bytes=100,  # 300 less the 200 that torch reserved
    )


@pytest.mark.parametrize("unlisted", [{"listed_pid": -2}, {"own_bytes": None}, {"own_bytes": 199}])
def test_a_context_that_the_driver_does_not_tell_counts_as_outside(
    unlisted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = probe(monkeypatch, Machine(**unlisted), "cuda:1")
    assert (memory.context_bytes, memory.external_bytes) == (None, 312)


def test_asking_does_not_start_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(cuda_runs=False)
    memory = probe(monkeypatch, machine, "cuda:0")
    assert not machine.started
    assert (memory.name, memory.total_bytes, memory.external_bytes) == ("Card 1", 2048, 512)
    assert (memory.context_bytes, memory.reserved_unused_bytes) == (0, 0)


def test_without_a_driver_library_only_the_total_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(driver_works=False)
    assert probe(monkeypatch, machine, "cuda") == DeviceMemory(0, "Card", 1000, None)


@pytest.mark.parametrize("broken", [{"driver_works": False}, {"visible": []}])
def test_without_driver_and_cuda_nothing_is_known(
    broken: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(cuda_runs=False, **broken)
    assert probe(monkeypatch, machine, "cuda:1") == DeviceMemory(1, "cuda:1")
    assert not machine.started


@pytest.mark.parametrize(
    ("total", "wanted", "budget"),
    [
        (None, "", None),
        (100 * GIB, "", 91 * GIB),
        (100 * GIB, " ", 91 * GIB),
        (GIB, "", 0),
        (100 * GIB, "0.5", 50 * GIB),
        (100 * GIB, "1.0", 91 * GIB),
        (100 * GIB, "6000000000", 6_000_000_000),
        (100 * GIB, "6GB", 6_000_000_000),
        (100 * GIB, "512MiB", 512 * 2**20),
        (100 * GIB, "1.5 gib", 3 * GIB // 2),
        (100 * GIB, "1TB", 91 * GIB),
        (None, "6GB", 6_000_000_000),
        (None, "9007199254740993", 9007199254740993),
    ],
)
def test_a_budget_is_read(total: int | None, wanted: str, budget: int | None) -> None:
    assert budget_of(total, wanted) == budget


@pytest.mark.parametrize(
    ("total", "wanted"),
    [
        (GIB, "much"),
        (GIB, "0"),
        (GIB, "0.0"),
        (GIB, "-1"),
        (GIB, "1.5"),
        (GIB, "6 GBs"),
        (GIB, "1e9"),
        (GIB, "nan"),
        (None, "0.5"),
    ],
)
def test_what_is_no_budget_is_named(total: int | None, wanted: str) -> None:
    with pytest.raises(InvalidSpec, match=f"^'{wanted}' is no memory budget"):
        budget_of(total, wanted)
