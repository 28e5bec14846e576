"""What is known of a device, with and without a driver."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from gpu.probe import DeviceMemory, probe_device


class DriverError(Exception):
    """Stands for the driver library's own."""


def fake_cuda(monkeypatch: pytest.MonkeyPatch, driver_works: bool) -> None:
    def by_uuid(uuid: str) -> str:
        if not driver_works:
            raise DriverError
        assert uuid == "GPU-1234"
        return uuid

    properties = SimpleNamespace(name="Card", total_memory=1000, uuid="1234")
    cuda = SimpleNamespace(get_device_properties=lambda index: properties)
    driver = SimpleNamespace(
        NVMLError=DriverError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=by_uuid,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=1024, free=512),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setitem(sys.modules, "pynvml", driver)


def test_a_cpu_has_a_name_and_nothing_to_measure() -> None:
    assert probe_device("cpu") == DeviceMemory(0, "cpu", None, None)


def test_the_driver_is_asked_for_the_card_that_torch_means(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_cuda(monkeypatch, driver_works=True)
    assert probe_device("cuda:1") == DeviceMemory(1, "Card", 1024, 512)


def test_without_a_driver_library_only_the_total_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_cuda(monkeypatch, driver_works=False)
    assert probe_device("cuda") == DeviceMemory(0, "Card", 1000, None)
