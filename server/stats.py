"""How many conversions there were on which device, and how long the last ones took."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

N_RECENT = 1000  # conversions that percentiles are taken over
QUANTILES = {"p50": 0.50, "p90": 0.90, "p99": 0.99}


@dataclass(frozen=True)
class Spent:
    """Where the time of one conversion went, in seconds; `run` is without waiting for a device."""

    queue: float
    run: float
    total: float


@dataclass
class DeviceTally:
    """What a device has done since the start."""

    completed: int = 0
    run_s: float = 0.0

    @property
    def mean_run_s(self) -> float:
        """Average time of a conversion, 0 where there was none."""
        return self.run_s / self.completed if self.completed else 0.0


@dataclass(frozen=True)
class TallyView:
    """All counts at one moment; `since` is in seconds since 1970, `outcomes` has "done" too."""

    since: float
    outcomes: dict[str, int]
    rejected: dict[str, int]
    devices: dict[int, DeviceTally]
    recent: Sequence[Spent]

    @property
    def completed(self) -> int:
        """Conversions that ended in audio."""
        return self.outcomes.get("done", 0)

    @property
    def failed(self) -> int:
        """Conversions that ended otherwise, whoever's fault it was."""
        return sum(self.outcomes.values()) - self.completed


@dataclass
class Tally:
    """Counts conversions as they end; safe to use from any thread."""

    clock: Callable[[], float] = time.time
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _outcomes: Counter[str] = field(default_factory=Counter)
    _rejected: Counter[str] = field(default_factory=Counter)
    _devices: dict[int, DeviceTally] = field(default_factory=dict)
    _recent: deque[Spent] = field(default_factory=lambda: deque(maxlen=N_RECENT))

    def __post_init__(self) -> None:
        self._since = self.clock()

    def note_done(self, device: int, spent: Spent) -> None:
        """A conversion has ended in audio."""
        with self._lock:
            self._outcomes["done"] += 1
            tally = self._devices.setdefault(device, DeviceTally())
            tally.completed += 1
            tally.run_s += spent.run
            self._recent.append(spent)

    def note_failed(self, outcome: str, reason: str | None = None) -> None:
        """A conversion has ended otherwise; `reason` is that of a rejection."""
        with self._lock:
            self._outcomes[outcome] += 1
            if reason is not None:
                self._rejected[reason] += 1

    def view(self) -> TallyView:
        """The counts now."""
        with self._lock:
            devices = {i: DeviceTally(t.completed, t.run_s) for i, t in self._devices.items()}
            outcomes, rejected = dict(self._outcomes), dict(self._rejected)
            return TallyView(self._since, outcomes, rejected, devices, list(self._recent))


def quantiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50, p90 and p99 of `values` by the nearest rank; None where there are none."""
    ordered = sorted(values)
    return {
        name: ordered[math.ceil(share * len(ordered)) - 1] if ordered else None
        for name, share in QUANTILES.items()
    }
