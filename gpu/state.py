"""States of a model, what a model is, and frozen pictures of the books for planner and status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from gpu.errors import InvalidSpec

NEVER = -1.0


class ModelState(str, Enum):
    """Where a model is: `ready` is on its device, `offloaded` is kept in host memory."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    OFFLOADING = "offloading"
    OFFLOADED = "offloaded"
    RELEASING = "releasing"
    FAILED = "failed"


IN_TRANSIT = frozenset({ModelState.LOADING, ModelState.OFFLOADING, ModelState.RELEASING})

TRANSITIONS: Mapping[ModelState, frozenset[ModelState]] = {
    ModelState.UNLOADED: frozenset({ModelState.LOADING}),
    # A model that turns out bigger than promised goes to host memory until there is room.
    ModelState.LOADING: frozenset({ModelState.READY, ModelState.FAILED, ModelState.OFFLOADING}),
    ModelState.READY: frozenset({ModelState.OFFLOADING, ModelState.RELEASING}),
    # Back to ready: an acquire came before the move began.
    ModelState.OFFLOADING: frozenset({ModelState.OFFLOADED, ModelState.READY, ModelState.FAILED}),
    ModelState.OFFLOADED: frozenset({ModelState.LOADING, ModelState.RELEASING}),
    ModelState.RELEASING: frozenset({ModelState.UNLOADED}),
    ModelState.FAILED: frozenset({ModelState.UNLOADED}),
}


class Model(Protocol):
    """What the manager moves; `nbytes` is the memory it takes on a device."""

    @property
    def nbytes(self) -> int:
        """Bytes of all weights and buffers."""

    def to(self, device: str) -> object:
        """Move everything to `device`; what it returns is ignored."""


class RequestToken(Protocol):
    """The part of a request's token that the manager reads."""

    def check(self) -> None:
        """Raise if the request is cancelled or over its deadline."""

    def remaining_s(self) -> float:
        """Seconds until the deadline; infinite without one."""


@dataclass(frozen=True)
class ModelSpec:
    """How to load one model and how long to keep it.

    Timers count seconds since the last lease ended: 0 = at once, -1 = never. `load` gets the
    device's name. A pinned model is moved by name only, never by a timer or to make room.
    """

    id: str
    engine: str
    load: Callable[[str], Model]
    concurrency: int = 1
    offload_after_s: float = 60.0
    release_after_s: float = 600.0
    pinned: bool = False
    nbytes_estimate: int = 0

    def __post_init__(self) -> None:
        if not self.id:
            raise InvalidSpec("A model needs an id.")
        if self.concurrency < 1:
            raise InvalidSpec(f"concurrency of {self.id} is {self.concurrency}; at least 1.")
        if self.nbytes_estimate < 0:
            raise InvalidSpec(f"nbytes_estimate of {self.id} is {self.nbytes_estimate}; below 0.")
        for name in ("offload_after_s", "release_after_s"):
            value = getattr(self, name)
            if not (value >= 0 or value == NEVER):
                raise InvalidSpec(f"{name} of {self.id} is {value}; at least 0, or -1 for never.")


@dataclass(frozen=True)
class Holder:
    """Who has a lease, and for how long."""

    holder: str
    age_s: float


@dataclass(frozen=True)
class Counters:
    """What happened to a model so far."""

    loads: int = 0
    restores: int = 0
    offloads: int = 0
    releases: int = 0
    evictions: int = 0
    failures: int = 0
    leak_suspected: int = 0


@dataclass(frozen=True)
class ModelView:
    """One model at one moment; times are readings of the manager's clock, None = does not apply.

    `key` tells models apart that share an id: a replaced model lives on until its leases end.
    `need_bytes` is what it takes on the device, `device_bytes` what it is charged there now.
    """

    key: int
    id: str
    state: ModelState
    engine: str = ""
    epoch: int = 0
    leases: int = 0
    waiting: int = 0
    concurrency: int = 1
    pinned: bool = False
    draining: bool = False
    retired: bool = False
    need_bytes: int = 0
    device_bytes: int = 0
    last_used: float | None = None
    idle_since: float = 0.0
    offload_after_s: float = NEVER
    release_after_s: float = NEVER
    backoff_until: float | None = None
    last_load_s: float | None = None
    last_restore_s: float | None = None
    last_error: str | None = None
    holders: tuple[Holder, ...] = ()
    counters: Counters = Counters()


@dataclass(frozen=True)
class Snapshot:
    """All models of one device at one moment; `budget_bytes` None = unlimited."""

    now: float
    models: tuple[ModelView, ...]
    budget_bytes: int | None = None
    ledger_bytes: int = 0

    def model(self, key: int) -> ModelView:
        """The model with that key."""
        return next(view for view in self.models if view.key == key)
