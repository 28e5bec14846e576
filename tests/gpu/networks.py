"""Networks with everything that a network may hold, and devices in host memory to put them on."""

from __future__ import annotations

import mmap
import weakref

import torch
from torch import Tensor, nn

from gpu.copier import HostCopier


class WatchedCopier:
    """A device in host memory that knows which of its buffers live and what came back."""

    def __init__(self) -> None:
        self.pages: list[weakref.ref[mmap.mmap]] = []
        self.downloaded = 0
        self.fails = False
        self._real = HostCopier()

    def allocate(self, n_bytes: int) -> Tensor:
        pages = mmap.mmap(-1, n_bytes)
        self.pages.append(weakref.ref(pages))
        return torch.frombuffer(pages, dtype=torch.uint8)

    def upload(self, host: Tensor, device: Tensor, pinned: bool = False) -> None:
        if self.fails:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self._real.upload(host, device)

    def download(self, device: Tensor, host: Tensor, pinned: bool = False) -> None:
        self.downloaded += device.numel()
        self._real.download(device, host)

    def finish(self) -> None:
        self._real.finish()

    def trim(self) -> None:
        self._real.trim()

    @property
    def n_alive(self) -> int:
        return sum(ref() is not None for ref in self.pages)


class Network(nn.Module):
    """A bit of everything that a network may hold."""

    scale: Tensor
    count: Tensor
    row: Tensor
    column: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 5, 3)
        self.conv.weight.data = self.conv.weight.data.to(memory_format=torch.channels_last)
        self.first = nn.Linear(5, 7, bias=False)
        self.second = nn.Linear(5, 7)
        self.second.weight = self.first.weight  # tied
        self.gru = nn.GRU(7, 4, batch_first=True)
        self.register_buffer("scale", torch.randn(3).half())
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("nothing", torch.empty(0, 4))
        self.register_buffer("row", self.first.weight.data[2])  # shares memory with a parameter
        self.register_buffer("column", torch.randn(6, 6)[:, 1])
        self.register_buffer("spread", torch.randn(1, 3).expand(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.conv(x).mean((2, 3))
        mixed: Tensor = self.gru((self.first(pooled) + self.second(pooled))[None])[0]
        return mixed + self.column.sum() + self.spread.sum() + self.scale.float().sum()


INPUT = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
