"""The slow things done to models: load, move, let go. Called without the manager's lock."""

from __future__ import annotations

import gc
import logging
import time
import traceback
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from gpu.copier import Copier, CudaCopier
from gpu.host_memory import read_host_memory
from gpu.pinning import CudaPinning, PinnedBudget, capped_pin_bytes
from gpu.shadow import Shadow, Shadows, can_be_shadowed, modules_of
from gpu.state import Model, ModelSpec

logger = logging.getLogger(__name__)
TRIM_BYTES = 256 * 2**20
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

    def trim(self) -> None:
        """Give all freed memory back to the driver now: the device ran out of it."""


class DeviceEffects:
    """Moves with the model's own `to`; `after_free` gives freed bytes back to the driver.

    With a `copier` for the device, models are loaded to the CPU first, and those that offer their
    modules keep a host master copy: an offload then drops the device's bytes without copying them
    back. With `pins` that copy is pinned as far as the bound allows.
    """

    def __init__(
        self,
        device: str,
        after_free: Callable[[int], None] | None = None,
        copier: Copier | None = None,
        pins: PinnedBudget | None = None,
    ) -> None:
        self.pins = pins
        self.upload_gbps: float | None = None  # of the last upload, 10^9 bytes a second
        self._device = device
        self._after_free = after_free
        self._copier = copier
        self._shadows = Shadows()

    @property
    def host_bytes(self) -> int:
        """Host memory that the master copies take."""
        return self._shadows.nbytes

    def load(self, spec: ModelSpec) -> Model:
        """Call the spec's loader, and bring what it loaded to the device."""
        self._let_go_of_orphans()
        if self._copier is None:
            return spec.load(self._device)
        model = spec.load("cpu")
        if can_be_shadowed(model):
            changing = getattr(model, "mutable_buffers", ())
            self._shadows.add(model, Shadow(modules_of(model), self._copier, changing))
        self.restore(model)
        return model

    def restore(self, model: Model) -> None:
        """Move the model to the device; after an error it can be tried again."""
        shadow = self._shadows.of(model)
        if shadow is not None and not shadow.on_device:
            self._upload(shadow)
        model.to(self._device)  # the rest of it; what is on the device already stays as it is

    def offload(self, model: Model, n_bytes: int) -> None:
        """Move the model to the CPU."""
        shadow = self._shadows.of(model)
        if shadow is not None:
            shadow.drop()
        model.to("cpu")
        self.freed(n_bytes)

    def freed(self, n_bytes: int) -> None:
        """Free what dead models left, and tell the hook, if there is one."""
        self._let_go_of_orphans()
        if self._after_free is not None and n_bytes > 0:
            self._after_free(n_bytes)

    def trim(self) -> None:
        """Free what dead models left, and empty the allocator's cache."""
        self._let_go_of_orphans()
        if self._copier is not None:
            self._copier.trim()

    def _upload(self, shadow: Shadow) -> None:
        started = time.perf_counter()
        if self.pins is None:
            shadow.to_device()
        else:
            with self.pins.hold(shadow.host.data_ptr(), shadow.nbytes, shadow.uploads) as pinned:
                started = time.perf_counter()  # pinning is no part of the copy
                shadow.to_device(pinned)
        self.upload_gbps = shadow.nbytes / (time.perf_counter() - started) / 1e9

    def _let_go_of_orphans(self) -> None:
        for shadow in self._shadows.take_orphans():
            if self.pins is not None:
                self.pins.forget(shadow.host.data_ptr())


class Trimmer:
    """Calls `trim` each time 256 MB more were freed.

    Not more often: it stops the device, and soon the same bytes would be asked for again.
    """

    def __init__(self, trim: Callable[[], None]) -> None:
        self._trim = trim
        self._freed_bytes = 0

    def __call__(self, n_bytes: int) -> None:
        """Count `n_bytes`."""
        self._freed_bytes += n_bytes
        if self._freed_bytes > TRIM_BYTES:
            self._freed_bytes = 0
            self._trim()


def default_effects(device: str, pin_bytes: int | None = None) -> DeviceEffects:
    """Effects for "cpu" or "cuda:N"; at most `pin_bytes` are pinned, an eighth of RAM if None."""
    if not device.startswith("cuda"):
        return DeviceEffects(device)
    host = read_host_memory()
    wanted = host.default_pin_bytes if pin_bytes is None else pin_bytes
    pins = PinnedBudget(capped_pin_bytes(wanted, host.limit_bytes), CudaPinning(device))
    copier = CudaCopier(device)
    return DeviceEffects(device, Trimmer(copier.trim), copier, pins)


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
