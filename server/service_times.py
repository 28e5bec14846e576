"""How long conversions and loads take, learned from those that were served."""

from __future__ import annotations

from dataclasses import replace

from server.placement import Costs

SMOOTHING = 0.2  # weight of the newest value: the last ten make nine tenths of the mean
FIRST_GUESS = Costs(run_s=2.0, load_s=1.0, restore_s=0.1)


class ServiceTimes:
    """Smoothed means, in seconds."""

    def __init__(self) -> None:
        self.costs = FIRST_GUESS

    def note_run(self, seconds: float) -> None:
        """A conversion took that long, loading not counted."""
        self.costs = replace(self.costs, run_s=_smooth(self.costs.run_s, seconds))

    def note_load(self, seconds: float, restored: bool) -> None:
        """A voice took that long to be ready, from host memory if `restored`, else from disk."""
        if restored:
            self.costs = replace(self.costs, restore_s=_smooth(self.costs.restore_s, seconds))
        else:
            self.costs = replace(self.costs, load_s=_smooth(self.costs.load_s, seconds))


def _smooth(mean: float, value: float) -> float:
    return mean + SMOOTHING * (value - mean)
