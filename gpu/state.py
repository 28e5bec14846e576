"""States of a model, what a model is, and frozen pictures of the books for planner and status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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

    def cancel(self) -> None:
        """End the work at its next check."""


@dataclass(frozen=True)
class Terms:
    """What a request asks of its lease.

    A `batch` request waits behind others until it has aged. `keep_alive_s` replaces the model's
    offload timer after this lease, and its release timer where that is shorter: 0 = leaves its
    device at once, -1 = stays until its room is needed, None = the model's own timers.
    A `passing` request only looks: it is refused unless the model is on its device and free, and
    leaves its timers as they are.
    """

    holder: str = ""
    batch: bool = False
    keep_alive_s: float | None = None
    passing: bool = False

    def __post_init__(self) -> None:
        value = self.keep_alive_s
        if value is not None and not (value >= 0 or value == NEVER):
            raise InvalidSpec(f"keep_alive_s is {value}; at least 0, or -1 for never.")


@dataclass(frozen=True)
class ModelSpec:
    """How to load one model and how long to keep it.

    Timers count seconds since the last lease ended: 0 = at once, -1 = never. `load` gets the
    device's name. A pinned model is moved by name only, never by a timer or to make room.
    `counted` models share the bound on how many may be in memory.
    """

    id: str
    engine: str
    load: Callable[[str], Model]
    concurrency: int = 1
    offload_after_s: float = 60.0
    release_after_s: float = 600.0
    pinned: bool = False
    counted: bool = False
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
    """What happened so far, to a model or on a whole device."""

    loads: int = 0
    restores: int = 0
    offloads: int = 0
    releases: int = 0
    evictions: int = 0
    failures: int = 0
    leak_suspected: int = 0
    out_of_memory: int = 0
    overdue: int = 0

    def plus(self, **added: int) -> Counters:
        """The same with `added` on top, by name."""
        return replace(self, **{name: getattr(self, name) + n for name, n in added.items()})


@dataclass(frozen=True)
class ModelView:
    """One model at one moment; times are readings of the manager's clock, None = does not apply.

    `key` tells models apart that share an id: a replaced model lives on until its leases end.
    `need_bytes` is what it takes on the device, `device_bytes` what it is charged there now,
    `peak_bytes` the most that work with it took beside, of the last 50 times.
    `latched` models take no new leases, as a load has waited too long for their bytes;
    `wanted_since` is when a load of this model began to wait.
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
    counted: bool = False
    draining: bool = False
    retired: bool = False
    latched: bool = False
    wanted_since: float | None = None
    need_bytes: int = 0
    device_bytes: int = 0
    last_used: float | None = None
    idle_since: float = 0.0
    offload_after_s: float = NEVER
    release_after_s: float = NEVER
    backoff_until: float | None = None
    peak_bytes: int | None = None
    last_load_s: float | None = None
    last_restore_s: float | None = None
    source: str | None = None
    last_error: str | None = None
    holders: tuple[Holder, ...] = ()
    counters: Counters = Counters()


@dataclass(frozen=True)
class Limits:
    """Bounds beside the device's budget; None = unbounded.

    `host_bytes` bounds what offloaded models take in host memory, `counted_models` how many
    counted models are in memory at all, `lease_s` how long a lease may last before its request
    is cancelled.
    """

    host_bytes: int | None = None
    counted_models: int | None = None
    lease_s: float | None = None


@dataclass(frozen=True)
class Snapshot:
    """All models of one device at one moment; `budget_bytes` None = unlimited.

    `outside_bytes` of the budget are held by other processes. `totals` count for models too that
    were forgotten.
    """

    now: float
    models: tuple[ModelView, ...]
    budget_bytes: int | None = None
    ledger_bytes: int = 0
    outside_bytes: int = 0
    limits: Limits = Limits()
    totals: Counters = Counters()

    @property
    def room_bytes(self) -> int | None:
        """What our models may take of the budget; None = unlimited."""
        return None if self.budget_bytes is None else self.budget_bytes - self.outside_bytes

    def model(self, key: int) -> ModelView:
        """The model with that key."""
        return next(view for view in self.models if view.key == key)
