"""Where tensors lie in one flat buffer: each run of memory once, aligned, strides as they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

ALIGNMENT = 64  # bytes: a cache line, and more than any kernel or element type asks for


@dataclass(frozen=True)
class Span:
    """A run of bytes in the flat buffer."""

    start: int
    n_bytes: int

    @property
    def bytes(self) -> slice:
        """Where it is."""
        return slice(self.start, self.start + self.n_bytes)


@dataclass(frozen=True)
class Placed:
    """A tensor and where it lies: `offset` in elements from the start of its span."""

    tensor: Tensor
    span: Span
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def copy_to(self, buffer: Tensor) -> None:
        """Copy the tensor's bytes to their place; both are on the CPU."""
        tensor = self.tensor
        if tensor.numel() == 0:
            return
        n_bytes, before = _n_bytes(tensor), tensor.storage_offset() * tensor.element_size()
        # As bytes: strides, and elements that lie on each other, stay as they are.
        source = buffer.new_empty(0).set_(tensor.untyped_storage(), before, (n_bytes,), (1,))
        start = self.span.start + self.offset * tensor.element_size()
        buffer[start : start + n_bytes].copy_(source)

    def bind(self, buffer: Tensor) -> None:
        """Make the tensor a view of its span of `buffer`.

        Its storage ends with the span: a deep copy or a saved file of a model copies whole
        storages, and would otherwise take the entire buffer for each tensor.
        """
        storage = buffer.untyped_storage()[self.span.bytes]
        view = buffer.new_empty(0, dtype=self.tensor.dtype)
        self.tensor.data = view.set_(storage, self.offset, self.size, self.stride)


def tensors_of(modules: Iterable[nn.Module]) -> list[Tensor]:
    """All parameters and buffers but those of special kinds: they are left to the model's `to`."""
    every = chain.from_iterable(chain(m.parameters(), m.buffers()) for m in modules)
    return [tensor for tensor in every if _is_plain(tensor)]


def _is_plain(tensor: Tensor) -> bool:
    import torch

    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
    )


def place(tensors: list[Tensor]) -> tuple[list[Placed], int]:
    """Give each run of memory that tensors lie in a span; tensors that overlap share one.

    Return the tensors with their places, and the length of the buffer.
    """
    placed = [Placed(t, Span(0, 0), 0, _size(t), t.stride()) for t in tensors if t.numel() == 0]
    cursor = 0
    for first, end, members in _runs([t for t in tensors if t.numel() > 0]):
        span = Span(cursor, end - first)
        cursor += -(-span.n_bytes // ALIGNMENT) * ALIGNMENT
        for tensor in members:
            offset = (tensor.data_ptr() - first) // tensor.element_size()
            placed.append(Placed(tensor, span, offset, _size(tensor), tensor.stride()))
    return placed, cursor


def _runs(tensors: list[Tensor]) -> list[tuple[int, int, list[Tensor]]]:
    """First address, end and tensors of each run of memory in use, by address."""
    runs: list[tuple[int, int, list[Tensor]]] = []
    for first, end, tensor in sorted(((*_extent(t), t) for t in tensors), key=lambda e: e[:2]):
        if runs and first < runs[-1][1]:
            start, former_end, members = runs.pop()
            runs.append((start, max(former_end, end), [*members, tensor]))
        else:
            runs.append((first, end, [tensor]))
    return runs


def _extent(tensor: Tensor) -> tuple[int, int]:
    """The addresses from an aligned one before the first element to behind the last one."""
    base = tensor.untyped_storage().data_ptr()
    before = tensor.data_ptr() - base
    # Aligned within the storage: views of other types in the same run keep whole offsets.
    return base + before // ALIGNMENT * ALIGNMENT, tensor.data_ptr() + _n_bytes(tensor)


def _n_bytes(tensor: Tensor) -> int:
    """Bytes from the first element to the last one, with those of others between them."""
    steps = zip(tensor.size(), tensor.stride(), strict=True)
    return (1 + sum((n - 1) * stride for n, stride in steps)) * tensor.element_size()


def _size(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.size())
