"""Host master copies: a model leaves its device by forgetting, and comes back by one copy."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from gpu.copier import Copier, host_buffer
from gpu.errors import InvalidSpec
from gpu.layout import place, tensors_of
from gpu.state import Model

if TYPE_CHECKING:
    from torch import Tensor, nn


class Shadowed(Model, Protocol):
    """A model that names its modules, so that their tensors need not travel back to the host.

    What lies outside of `modules` moves with `to`, which is called as well. A model may also
    have `mutable_buffers: Collection[str]`, the names of buffers that its work changes; any other
    change on the device is lost with the next offload.
    """

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks, as they are after loading."""


class Shadow:
    """The tensors of some modules in one host buffer, and in one device buffer while in use.

    Tensors keep their identity, type and strides; those that share memory share it on. The
    modules must be on the CPU, in their final form (weight norm folded, dtype converted).
    """

    def __init__(
        self,
        modules: Iterable[nn.Module],
        copier: Copier,
        mutable_buffers: Collection[str] = (),
    ) -> None:
        modules = list(modules)
        self.uploads = 0
        self._copier = copier
        self._device: Tensor | None = None
        changing = _find_buffers(modules, mutable_buffers)
        self._placed, n_bytes = place(tensors_of(modules))
        self._mutable = {placed.span for placed in self._placed if id(placed.tensor) in changing}
        self.host = host_buffer(n_bytes)
        for placed in self._placed:
            placed.copy_to(self.host)
            placed.bind(self.host)

    @property
    def nbytes(self) -> int:
        """Bytes of either buffer."""
        return self.host.numel()

    @property
    def on_device(self) -> bool:
        """Whether the tensors are on the device."""
        return self._device is not None

    def to_device(self, pinned: bool = False) -> None:
        """Copy to a new device buffer; after an error the tensors are where they were."""
        if self._device is not None:
            return
        buffer = self._copier.allocate(self.nbytes)
        self._copier.upload(self.host, buffer, pinned)
        self._bind(buffer)
        self._device = buffer
        self.uploads += 1

    def drop(self) -> None:
        """Go back to the host buffer and let the device's go; only mutable buffers are copied."""
        if self._device is None:
            return
        self._copier.finish()
        for span in self._mutable:
            self._copier.download(self._device[span.bytes], self.host[span.bytes])
        self._bind(self.host)
        self._device = None

    def _bind(self, buffer: Tensor) -> None:
        for placed in self._placed:
            placed.bind(buffer)


class Shadows:
    """The shadow of each model for as long as the model lives.

    A model may die under the manager's lock. Freeing gigabytes takes long, so the shadows of dead
    models wait in `take_orphans` for someone without it.
    """

    def __init__(self) -> None:
        self._by_model: dict[int, tuple[weakref.ref[Model], Shadow]] = {}
        self._orphans: deque[Shadow] = deque()

    def add(self, model: Model, shadow: Shadow) -> None:
        """Remember the shadow of a model; not by its hash or equality, which are its own."""
        key = id(model)

        def bury(_: weakref.ref[Model]) -> None:
            self._orphans.append(self._by_model.pop(key)[1])

        self._by_model[key] = (weakref.ref(model, bury), shadow)

    def of(self, model: Model) -> Shadow | None:
        """The shadow of a model; None if it has none."""
        known = self._by_model.get(id(model))
        return None if known is None else known[1]

    def take_orphans(self) -> Iterable[Shadow]:
        """The shadows of models that died since the last call."""
        while self._orphans:
            yield self._orphans.popleft()

    @property
    def nbytes(self) -> int:
        """Bytes of all host buffers, those of dead models too."""
        living = [shadow for _, shadow in list(self._by_model.values())]
        return sum(shadow.nbytes for shadow in [*living, *list(self._orphans)])


def modules_of(model: Model) -> Sequence[nn.Module]:
    """The modules a model offers; a model that is a module offers itself."""
    from torch import nn

    if isinstance(model, nn.Module):
        return [model]
    offered = getattr(model, "modules", ())
    return offered if isinstance(offered, Sequence) else ()


def can_be_shadowed(model: Model) -> bool:
    """Whether a model offers modules and can be watched, so that its shadow ends with it."""
    return type(model).__weakrefoffset__ != 0 and len(modules_of(model)) > 0


def _find_buffers(modules: Iterable[nn.Module], names: Collection[str]) -> set[int]:
    """The identities of the buffers so named; raise `InvalidSpec` for a name nobody has."""
    named = [pair for module in modules for pair in module.named_buffers(remove_duplicate=False)]
    missing = sorted(set(names) - {name for name, _ in named})
    if missing:
        raise InvalidSpec(f"mutable_buffers names {missing[0]!r}, which is no buffer of the model.")
    return {id(buffer) for name, buffer in named if name in names}
