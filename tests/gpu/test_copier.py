"""Copies and the buffers they are made between."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch

from gpu.copier import CudaCopier, copy_in_chunks, host_buffer


def test_a_host_buffer_has_whole_pages_of_its_own() -> None:
    buffer = host_buffer(5000)
    assert (buffer.numel(), buffer.data_ptr() % mmap.PAGESIZE) == (5000, 0)
    assert not buffer.any()
    assert host_buffer(0).numel() == 0


@pytest.mark.parametrize("n_bytes", [0, 1, 7, 8, 9, 1000])
def test_every_chunk_is_copied(n_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu.copier.CHUNK_BYTES", 8)
    source = torch.arange(n_bytes, dtype=torch.uint8)
    target = torch.zeros_like(source)
    copy_in_chunks(source, target)
    assert torch.equal(source, target)


class FakeCuda:
    """What CudaCopier calls of torch.cuda, noting the order; copies are real, on the CPU."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.inside: list[str] = []
        self.n_streams = 0

    @contextmanager
    def device(self, name: str) -> Iterator[None]:
        self.inside.append(name)
        yield
        self.inside.pop()

    def current_stream(self) -> FakeStream:
        assert self.inside == ["cuda:1"]
        return FakeStream("compute", self)

    def Stream(self) -> FakeStream:
        self.n_streams += 1
        return FakeStream(f"copies{self.n_streams}", self)

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        self.calls.append(f"into {stream.name}")
        yield
        self.calls.append("out")

    def synchronize(self, device: str) -> None:
        self.calls.append(f"synchronize {device}")

    def empty_cache(self) -> None:
        self.calls.append("empty_cache")


class FakeStream:
    def __init__(self, name: str, cuda: FakeCuda) -> None:
        self.name = name
        self._calls = cuda.calls

    def wait_stream(self, other: FakeStream) -> None:
        self._calls.append(f"{self.name} waits for {other.name}")

    def wait_event(self, event: FakeEvent) -> None:
        self._calls.append(f"{self.name} waits for the event")

    def record_event(self) -> FakeEvent:
        self._calls.append(f"event in {self.name}")
        return FakeEvent(self._calls)


class FakeEvent:
    def __init__(self, calls: list[str]) -> None:
        self._calls = calls

    def synchronize(self) -> None:
        self._calls.append("the host waits for the event")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    for name in ("device", "current_stream", "Stream", "stream", "synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, getattr(fake, name))
    return fake


def test_computing_and_the_host_wait_for_the_last_byte_on_the_card(cuda: FakeCuda) -> None:
    host, device = torch.arange(9, dtype=torch.uint8), torch.zeros(9, dtype=torch.uint8)
    CudaCopier("cuda:1").upload(host, device, pinned=True)
    assert torch.equal(host, device)
    assert cuda.calls == [
        "copies1 waits for compute",
        "into copies1",
        "event in copies1",
        "out",
        "compute waits for the event",
        "the host waits for the event",
    ]


def test_each_direction_has_one_stream_for_good(cuda: FakeCuda) -> None:
    copier, a, b = CudaCopier("cuda:1"), torch.zeros(1), torch.zeros(1)
    for _ in range(3):
        copier.upload(a, b)
        copier.download(b, a)
    assert cuda.n_streams == 2


@pytest.mark.parametrize("pinned", [False, True])
def test_only_copies_of_pinned_memory_run_ahead(pinned: bool, cuda: FakeCuda) -> None:
    asked: list[bool] = []
    with patch("gpu.copier.copy_in_chunks", lambda *_, non_blocking: asked.append(non_blocking)):
        CudaCopier("cuda:1").upload(torch.zeros(1), torch.zeros(1), pinned)
    assert asked == [pinned]


def test_memory_goes_back_to_the_driver_once_the_device_is_still(cuda: FakeCuda) -> None:
    CudaCopier("cuda:1").trim()
    assert cuda.calls == ["synchronize cuda:1", "empty_cache"]
