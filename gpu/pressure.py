"""How short memory is, told from samples; says so and does nothing."""

from __future__ import annotations

from enum import IntEnum

DEBOUNCE_S = 2.0


class PressureLevel(IntEnum):
    """How short memory is."""

    NONE = 0
    SOFT = 1
    HARD = 2
    CRITICAL = 3  # an allocation failed


# Free share below which a level begins and from which it ends, five points apart; worst first.
BEGINS = {PressureLevel.HARD: 0.07, PressureLevel.SOFT: 0.15}
ENDS = {PressureLevel.HARD: 0.12, PressureLevel.SOFT: 0.20}


class PressureGauge:
    """Keeps the level of one memory.

    A change is made when samples have called for it throughout two seconds, and then no further
    than all of them did; a failed allocation counts at once, for two seconds at least.
    """

    def __init__(self) -> None:
        self.level = PressureLevel.NONE
        self._candidate: PressureLevel | None = None
        self._since = 0.0

    def sample(self, now: float, free_fraction: float) -> PressureLevel:
        """Note how much is free at `now`, share in [0, 1]; return the level."""
        aim = self._aim(free_fraction)
        if aim == self.level:
            self._candidate = None
        elif self._candidate is None or (aim > self.level) != (self._candidate > self.level):
            self._candidate, self._since = aim, now
        else:
            nearest = min if aim > self.level else max
            self._candidate = nearest(aim, self._candidate)
        if self._candidate is not None and now - self._since >= DEBOUNCE_S:
            self.level, self._candidate = self._candidate, None
        return self.level

    def allocation_failed(self, now: float) -> PressureLevel:
        """Memory ran out at `now`: the level is critical, whatever the samples say."""
        self.level = PressureLevel.CRITICAL
        self._candidate, self._since = PressureLevel.NONE, now
        return self.level

    def _aim(self, free_fraction: float) -> PressureLevel:
        """The level this sample calls for, seen from the present one."""
        for level in BEGINS:
            limits = ENDS if self.level >= level else BEGINS
            if free_fraction < limits[level]:
                return level
        return PressureLevel.NONE
