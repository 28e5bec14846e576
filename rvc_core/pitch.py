"""Pure arithmetic on pitch curves: f0 in Hz, shape (frames,), 0 = unvoiced, 10 ms a frame.

In float64, as official RVC computes, so that both round to the same bins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The range that the bins of every RVC voice are trained on; it cannot be chosen.
F0_MIN_HZ = 50.0
F0_MAX_HZ = 1100.0
N_BINS = 255


def shift_semitones(f0: NDArray[np.floating], semitones: float) -> NDArray[np.float64]:
    """Transpose `f0`; unvoiced frames stay 0."""
    shifted = np.asarray(f0, dtype=np.float64) * 2.0 ** (semitones / 12)
    return np.asarray(shifted, dtype=np.float64)


def fill_unvoiced(f0: NDArray[np.floating]) -> NDArray[np.float64]:
    """Draw straight lines through unvoiced frames, level at both ends; all unvoiced gives zeros."""
    voiced = np.flatnonzero(f0 > 0)
    if voiced.size == 0:
        return np.zeros(len(f0), dtype=np.float64)
    frames = np.arange(len(f0))
    return np.asarray(np.interp(frames, voiced, f0[voiced]), dtype=np.float64)


def to_bins(f0: NDArray[np.floating]) -> NDArray[np.int64]:
    """Quantise `f0` to the mel-spaced bins 1 to 255 of RVC voices; unvoiced and NaN give 1."""
    hz = np.nan_to_num(np.asarray(f0, dtype=np.float64), nan=0.0, posinf=F0_MAX_HZ, neginf=0.0)
    low, high = _mel(np.array([F0_MIN_HZ, F0_MAX_HZ]))
    scaled = (_mel(np.maximum(hz, 0.0)) - low) * (N_BINS - 1) / (high - low) + 1
    return np.asarray(np.rint(np.clip(scaled, 1, N_BINS)), dtype=np.int64)


def median_filter(f0: NDArray[np.floating]) -> NDArray[np.float64]:
    """Median of every frame and its two neighbours; unvoiced frames count as 0, as do the ends."""
    padded = np.pad(np.asarray(f0, dtype=np.float64), 1)
    neighbours = np.stack([padded[:-2], padded[1:-1], padded[2:]])  # (3, frames)
    return np.asarray(np.median(neighbours, axis=0), dtype=np.float64)


def median_f0(f0: NDArray[np.floating]) -> float | None:
    """Median of the voiced frames in Hz, or None where no frame is voiced."""
    voiced = f0[f0 > 0]
    return float(np.median(voiced)) if voiced.size else None


def auto_semitones(f0: NDArray[np.floating], target_hz: float) -> float:
    """Transposition that brings the median of `f0` to `target_hz`; 0 if no frame is voiced.

    The median, not the mean: octave errors and creaky frames pull a mean by whole semitones.
    """
    median = median_f0(f0)
    if median is None:
        return 0.0
    return float(12 * np.log2(target_hz / median))


def resample_f0(f0: NDArray[np.floating], positions: NDArray[np.floating]) -> NDArray[np.float64]:
    """Read `f0` at fractional frame `positions`; each is as voiced as its nearest frame.

    Between voiced frames pitch is linear in log frequency, as it is heard.
    """
    voiced = np.flatnonzero(f0 > 0)
    if voiced.size == 0:
        return np.zeros(len(positions), dtype=np.float64)
    hz = np.exp(np.interp(positions, voiced, np.log(f0[voiced].astype(np.float64))))
    nearest = np.clip(np.floor(np.asarray(positions) + 0.5), 0, len(f0) - 1).astype(np.int64)
    return np.where(f0[nearest] > 0, hz, 0.0)


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1127 * np.log(1 + hz / 700)
