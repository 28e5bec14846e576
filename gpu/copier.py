"""Copies between host memory and a device: in chunks, one at a time in each direction."""

from __future__ import annotations

import mmap
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CHUNK_BYTES = 64 * 2**20

Direction = Literal["upload", "download"]


class Copier(Protocol):
    """The memory of one device; buffers are flat uint8 tensors, copies are done on return."""

    def allocate(self, n_bytes: int) -> Tensor:
        """A buffer on the device; what is in it is undefined."""

    def upload(self, host: Tensor, device: Tensor, pinned: bool = False) -> None:
        """Copy to the device; `pinned` says that the host buffer is."""

    def download(self, device: Tensor, host: Tensor, pinned: bool = False) -> None:
        """Copy to host memory."""

    def finish(self) -> None:
        """Wait until the device has done all it was given."""

    def trim(self) -> None:
        """Give back what is freed but kept for later buffers."""


class HostCopier:
    """Plays a device in host memory, for tests and for measuring without a GPU."""

    def allocate(self, n_bytes: int) -> Tensor:
        """Another host buffer."""
        return host_buffer(n_bytes)

    def upload(self, host: Tensor, device: Tensor, pinned: bool = False) -> None:
        """Copy in chunks."""
        copy_in_chunks(host, device, pinned)

    def download(self, device: Tensor, host: Tensor, pinned: bool = False) -> None:
        """Copy in chunks."""
        copy_in_chunks(device, host, pinned)

    def finish(self) -> None:
        """Nothing runs behind a CPU's back."""

    def trim(self) -> None:
        """Nothing is kept."""


class CudaCopier:
    """Copies on streams of its own, one a direction, beside the computing of other models."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._streams: dict[Direction, torch.cuda.Stream] = {}
        self._turns = {"upload": threading.Lock(), "download": threading.Lock()}

    def allocate(self, n_bytes: int) -> Tensor:
        """A buffer of torch's allocator."""
        import torch

        return torch.empty(n_bytes, dtype=torch.uint8, device=self._device)

    def upload(self, host: Tensor, device: Tensor, pinned: bool = False) -> None:
        """Copy; return when the bytes are there."""
        self._copy(host, device, "upload", pinned)

    def download(self, device: Tensor, host: Tensor, pinned: bool = False) -> None:
        """Copy; return when the bytes are there."""
        self._copy(device, host, "download", pinned)

    def finish(self) -> None:
        """Wait for all streams: a kernel may still read what is about to be freed."""
        import torch

        torch.cuda.synchronize(self._device)

    def trim(self) -> None:
        """Empty the cache of torch's allocator; stops the device for a moment."""
        import torch

        self.finish()
        torch.cuda.empty_cache()

    def _copy(self, source: Tensor, target: Tensor, direction: Direction, pinned: bool) -> None:
        import torch

        with self._turns[direction], torch.cuda.device(self._device):
            compute, stream = torch.cuda.current_stream(), self._stream(direction)
            # The allocator may hand out bytes that work queued on `compute` still reads.
            stream.wait_stream(compute)
            with torch.cuda.stream(stream):
                copy_in_chunks(source, target, non_blocking=pinned)
                done = stream.record_event()
            compute.wait_event(done)
            done.synchronize()

    def _stream(self, direction: Direction) -> torch.cuda.Stream:
        import torch

        if direction not in self._streams:
            self._streams[direction] = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        return self._streams[direction]


def copy_in_chunks(source: Tensor, target: Tensor, non_blocking: bool = False) -> None:
    """Copy flat buffers of equal length, 64 MB at a time."""
    for start in range(0, source.numel(), CHUNK_BYTES):
        chunk = slice(start, start + CHUNK_BYTES)
        target[chunk].copy_(source[chunk], non_blocking=non_blocking)


def host_buffer(n_bytes: int) -> Tensor:
    """A uint8 buffer of exactly `n_bytes` zeros.

    It has pages of its own: they can be registered with the CUDA runtime without touching a
    neighbour's, and go back to the system when the last view is gone.
    """
    import torch

    if n_bytes == 0:
        return torch.empty(0, dtype=torch.uint8)
    pages = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without huge pages
        pages.madvise(mmap.MADV_HUGEPAGE)  # several times faster to fill, and fewer to pin
    return torch.frombuffer(pages, dtype=torch.uint8)
