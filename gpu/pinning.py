"""Which host buffers are pinned: within a bound, the models that come back most often first.

The device reads pinned memory several times faster. Pinning takes long and what is pinned is lost
to the rest of the system, so it is done once, kept, and bounded.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

logger = logging.getLogger(__name__)

HARD_CAP = 0.40  # of the host's memory; beyond it whole systems were seen to stall
PORTABLE = 1  # cudaHostRegisterPortable: pinned for every context of the process


class PinRuntime(Protocol):
    """Pins exactly a range of host memory; False = refused."""

    def register(self, address: int, n_bytes: int) -> bool:
        """Pin."""

    def unregister(self, address: int) -> bool:
        """Undo it; to be called before the memory is freed."""


@dataclass
class _Pin:
    n_bytes: int
    uses: int
    holders: int = 0


class PinnedBudget:
    """Pins buffers up to `limit_bytes`; `failures` counts what the runtime refused."""

    def __init__(self, limit_bytes: int, runtime: PinRuntime) -> None:
        self.limit_bytes = limit_bytes
        self.failures = 0
        self._runtime = runtime
        self._pins: dict[int, _Pin] = {}
        self._lock = threading.Lock()  # not the manager's: pinning a gigabyte takes long

    @property
    def pinned_bytes(self) -> int:
        """Bytes that are pinned now."""
        return sum(pin.n_bytes for pin in list(self._pins.values()))

    @contextmanager
    def hold(self, address: int, n_bytes: int, uses: int) -> Iterator[bool]:
        """Say whether a buffer is pinned, and keep it so for the time of the block.

        `uses` is how often its model was restored: one that is not pinned yet takes the place of
        less used ones. A refusal is no error: the copy is just slower.
        """
        pinned = self._enter(address, n_bytes, uses)
        try:
            yield pinned
        finally:
            if pinned:
                with self._lock:
                    self._pins[address].holders -= 1

    def forget(self, address: int) -> None:
        """Unpin a buffer that is about to be freed; nothing happens if it is not pinned."""
        with self._lock:
            if address in self._pins:
                self._unpin(address)

    def _enter(self, address: int, n_bytes: int, uses: int) -> bool:
        with self._lock:
            if address not in self._pins and not self._pin(address, n_bytes, uses):
                return False
            pin = self._pins[address]
            pin.uses = uses
            pin.holders += 1
            return True

    def _pin(self, address: int, n_bytes: int, uses: int) -> bool:
        if n_bytes == 0 or not self._make_room(n_bytes, uses):
            return False
        if not self._runtime.register(address, n_bytes):
            self.failures += 1
            logger.warning("Could not pin %d bytes; they stay pageable.", n_bytes)
            return False
        self._pins[address] = _Pin(n_bytes, uses)
        return True

    def _make_room(self, n_bytes: int, uses: int) -> bool:
        """Unpin less used buffers, but only if that makes room enough."""
        surplus = self.pinned_bytes + n_bytes - self.limit_bytes
        victims = []
        for address, pin in sorted(self._pins.items(), key=lambda item: item[1].uses):
            if surplus > 0 and pin.uses < uses and pin.holders == 0:
                victims.append(address)
                surplus -= pin.n_bytes
        if surplus > 0:
            return False
        for address in victims:
            self._unpin(address)
        return True

    def _unpin(self, address: int) -> None:
        n_bytes = self._pins.pop(address).n_bytes
        if not self._runtime.unregister(address):
            self.failures += 1
            logger.warning("Could not unpin %d bytes.", n_bytes)


class CudaPinning:
    """Pins by registering with the CUDA runtime: `pin_memory` would round up to powers of two."""

    def __init__(self, device: str) -> None:
        self._device = device

    def register(self, address: int, n_bytes: int) -> bool:
        """Call cudaHostRegister."""
        import torch

        with torch.cuda.device(self._device):
            return self._accept(_cudart().cudaHostRegister(address, n_bytes, PORTABLE))

    def unregister(self, address: int) -> bool:
        """Call cudaHostUnregister."""
        import torch

        with torch.cuda.device(self._device):
            return self._accept(_cudart().cudaHostUnregister(address))

    def _accept(self, result: Any) -> bool:
        if int(result) == 0:
            return True
        import torch

        # The runtime keeps its last error: the next kernel, anybody's, would raise it. So one of
        # ours does.
        with suppress(RuntimeError):
            torch.empty(1, device=self._device).fill_(0)
        return False


def _cudart() -> Any:
    import torch

    return torch.cuda.cudart()  # type: ignore[no-untyped-call]


def capped_pin_bytes(wanted: int, host_bytes: int) -> int:
    """`wanted`, but at most 40 % of the host's memory."""
    return min(wanted, int(HARD_CAP * host_bytes))
