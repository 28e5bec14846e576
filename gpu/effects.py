"""The slow things done to models: load, move, let go. Called without the manager's lock."""

from __future__ import annotations

import gc
import logging
import traceback
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from gpu.state import Model, ModelSpec

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Effects(Protocol):
    """What a device does to models; each call returns when it is done, or raises."""

    def load(self, spec: ModelSpec) -> Model:
        """Read the model and bring it to the device."""

    def restore(self, model: Model) -> None:
        """Bring an offloaded model back to the device."""

    def offload(self, model: Model, n_bytes: int) -> None:
        """Move the model to host memory and drop its `n_bytes` on the device."""

    def freed(self, n_bytes: int) -> None:
        """The last reference to a model of `n_bytes` on the device is gone."""


class DeviceEffects:
    """Moves with the model's own `to`; `after_free` gives freed bytes back to the driver."""

    def __init__(self, device: str, after_free: Callable[[int], None] | None = None) -> None:
        self._device = device
        self._after_free = after_free

    def load(self, spec: ModelSpec) -> Model:
        """Call the spec's loader."""
        return spec.load(self._device)

    def restore(self, model: Model) -> None:
        """Move the model to the device."""
        model.to(self._device)

    def offload(self, model: Model, n_bytes: int) -> None:
        """Move the model to the CPU."""
        model.to("cpu")
        self.freed(n_bytes)

    def freed(self, n_bytes: int) -> None:
        """Tell the hook, if there is one."""
        if self._after_free is not None and n_bytes > 0:
            self._after_free(n_bytes)


def default_effects(device: str) -> DeviceEffects:
    """Effects for "cpu" or "cuda:N"; freed CUDA memory goes back to the driver."""
    return DeviceEffects(device, _empty_cuda_cache if device.startswith("cuda") else None)


def _empty_cuda_cache(_n_bytes: int) -> None:
    import torch

    torch.cuda.empty_cache()


def attempt(action: Callable[[], T], what: str) -> tuple[T | None, BaseException | None]:
    """Run foreign code; return its value or its error, never raise, so that no waiter hangs.

    The traceback is logged and then dropped: it would keep the frames' tensors alive.
    """
    try:
        return action(), None
    except BaseException as error:
        logger.warning("%s failed: %s", what, error, exc_info=True)
        _drop_tracebacks(error)
        return None, error


def _drop_tracebacks(error: BaseException | None) -> None:
    while error is not None and error.__traceback__ is not None:
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def weak(model: Model | None) -> weakref.ref[Any] | None:
    """A weak reference, or None for a model that cannot have one."""
    try:
        return None if model is None else weakref.ref(model)
    except TypeError:
        return None


def is_alive(reference: weakref.ref[Any] | None) -> bool:
    """Whether something still holds the model; collects cycles only when it has to."""
    if reference is None or reference() is None:
        return False
    gc.collect()
    return reference() is not None
