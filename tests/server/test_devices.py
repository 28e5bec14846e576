from __future__ import annotations

import pytest

from server import devices
from server.devices import gpu_builder, list_devices, open_device
from server.errors import DeviceUnavailable
from server.settings import Settings


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A driver of as many GPUs as the list's last number."""
    import pynvml

    n_gpus = [0]
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: n_gpus[-1])
    return n_gpus


def test_one_gpu_or_none_needs_no_worker(driver: list[int]) -> None:
    assert list_devices(Settings()) == ("auto",)
    driver.append(1)
    assert list_devices(Settings()) == ("auto",)
    assert list_devices(Settings(device="cuda")) == ("cuda",)


def test_several_gpus_get_a_worker_each(driver: list[int]) -> None:
    driver.append(3)
    assert list_devices(Settings()) == ("cuda:0", "cuda:1", "cuda:2")
    assert list_devices(Settings(cuda_visible_devices="GPU-1,GPU-7")) == ("cuda:0", "cuda:1")
    assert list_devices(Settings(cuda_visible_devices="")) == ("auto",)
    assert list_devices(Settings(device="cpu")) == ("cpu",)


def test_named_devices_are_used_as_they_are(driver: list[int]) -> None:
    driver.append(8)
    assert list_devices(Settings(voice_devices=("cpu", "cpu"))) == ("cpu", "cpu")
    assert list_devices(Settings(voice_devices=("cuda", "cpu"))) == ("cuda:0", "cpu")


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert devices._count_gpus(None) == 0


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    n_threads = torch.get_num_threads()
    try:
        assert open_device("auto", 1) == "cuda:0"
        assert open_device("cuda:1", 1) == "cuda:1"
        assert open_device("cpu", 1) == "cpu"
        with pytest.raises(DeviceUnavailable, match="cuda:2 was asked for, but torch can use 2"):
            open_device("cuda:2", 1)
    finally:
        torch.set_num_threads(n_threads)


def test_the_settings_bound_what_the_manager_of_a_device_keeps() -> None:
    import torch

    settings = Settings(
        gpu_vram_budget="3MiB", max_voices=3, host_cache_mb=2, max_request_seconds=100
    )
    n_threads = torch.get_num_threads()
    gpu = gpu_builder(settings, "cpu", 1)()
    try:
        status = gpu.get_status()
        assert status["devices"][0]["budget_bytes"] == 3 * 2**20
        assert status["host"]["cache_limit"] == 2 * 2**20
        assert status["config"] == {"max_counted_models": 3, "max_lease_s": 130.0}
    finally:
        gpu.close()
        torch.set_num_threads(n_threads)
