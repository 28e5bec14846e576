"""When a dead worker may be started again: back-off, and a circuit that opens."""

from __future__ import annotations

from collections import deque

FORGET_S = 600.0  # deaths further apart have nothing to do with each other
LONGEST_DELAY_S = 30.0
CIRCUIT_DEATHS = 5  # so many within FORGET_S open the circuit
OPEN_S = 600.0


class Restarts:
    """Counts deaths; `now` is a reading of any steady clock in seconds."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=CIRCUIT_DEATHS)
        self._n_in_series = 0
        self._trial_at: float | None = None  # when the circuit closes by half: one try

    def died(self, now: float) -> float | None:
        """Seconds to wait before the next start; None = the circuit is open for `OPEN_S`."""
        if self._trial_at is not None and now - self._trial_at <= FORGET_S:
            self._trial_at = now + OPEN_S  # the one try has failed
            return None
        if self._recent and now - self._recent[-1] > FORGET_S:
            self._n_in_series = 0
            self._recent.clear()
        self._trial_at = None
        self._recent.append(now)
        self._n_in_series += 1
        if len(self._recent) == CIRCUIT_DEATHS and now - self._recent[0] <= FORGET_S:
            self._trial_at = now + OPEN_S
            return None
        return _delay_s(self._n_in_series)


def _delay_s(n_deaths: int) -> float:
    """0, 1, 2, 4 ... seconds after the first, second, third, fourth ... death of a series."""
    return 0.0 if n_deaths == 1 else min(2.0 ** min(n_deaths - 2, 10), LONGEST_DELAY_S)
