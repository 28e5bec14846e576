"""Watches how much memory is left, each second, and has others act when it gets short."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gpu.books import Books
from gpu.effects import attempt
from gpu.gate import Gate
from gpu.host_memory import read_host_memory
from gpu.pressure import PressureGauge, PressureLevel
from gpu.probe import DeviceMemory, probe_device

logger = logging.getLogger(__name__)

Subscriber = Callable[[PressureLevel], None]


@dataclass(frozen=True)
class MemorySample:
    """How much of the memory that matters is free, share in [0, 1], and what the driver says."""

    free_fraction: float
    device: DeviceMemory


class MemoryWatch:
    """Looks when told to; `run` runs a subscriber, by default in a thread of its own."""

    def __init__(
        self,
        books: Books,
        gate: Gate,
        sample: Callable[[], MemorySample],
        run: Callable[[str, Callable[[], object]], None],
    ) -> None:
        self._books = books
        self._gate = gate
        self._sample = sample
        self._run = run
        self._gauge = PressureGauge()
        self.level = PressureLevel.NONE
        self.device: DeviceMemory | None = None  # as of the last look
        self.subscribers: list[Subscriber] = []

    def look(self) -> None:
        """Take a sample; tell the subscribers if the level has changed."""
        sample, error = attempt(self._sample, "Asking for free memory")
        if sample is None or error is not None:
            return
        with self._gate:
            self.device = sample.device
            self._books.outside_bytes = sample.device.external_bytes or 0
            level = self._gauge.sample(self._books.clock(), sample.free_fraction)
        self._change_to(level)

    def allocation_failed(self) -> None:
        """Memory ran out: the level is critical."""
        with self._gate:
            level = self._gauge.allocation_failed(self._books.clock())
        self._change_to(level)

    def _change_to(self, level: PressureLevel) -> None:
        with self._gate:
            before, self.level = self.level, level
        if level == before:
            return
        logger.log(
            logging.WARNING if level > before else logging.INFO,
            "Memory pressure is %s, was %s.",
            level.name.lower(),
            before.name.lower(),
        )
        for subscriber in list(self.subscribers):
            self._run("gpu-pressure", partial(subscriber, level))


def sampler(device: str) -> Callable[[], MemorySample]:
    """What looks at the memory of "cuda:N", or at the host's for "cpu"."""
    return _sample_host if device == "cpu" else lambda: _sample_gpu(device)


def _sample_host() -> MemorySample:
    return MemorySample(read_host_memory().free_fraction, probe_device("cpu"))


def _sample_gpu(device: str) -> MemorySample:
    memory = probe_device(device)
    if memory.total_bytes is None or memory.free_bytes is None:
        return MemorySample(1.0, memory)  # nobody to ask: allocations that fail will tell
    free = memory.free_bytes + (memory.reserved_unused_bytes or 0)
    return MemorySample(free / memory.total_bytes, memory)
