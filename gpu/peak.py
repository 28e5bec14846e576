"""How much memory work takes on top of its models, learned by watching it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def run_and_measure(device: str, work: Callable[[], T]) -> tuple[T, int | None]:
    """Do `work`; return its result and the most bytes that torch allocated meanwhile.

    None on a CPU, where nobody counts. What runs beside it on the device is counted too, so the
    number is an upper bound.
    """
    if not device.startswith("cuda"):
        return work(), None
    import torch

    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    result = work()
    return result, max(0, torch.cuda.max_memory_allocated(device) - before)
