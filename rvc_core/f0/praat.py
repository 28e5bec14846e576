"""F0 by Praat's autocorrelation: no network; needs the package praat-parselmouth (GPL-3.0)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvc_core.f0.frames import HOP_LENGTH, MIN_SAMPLES, SAMPLE_RATE, require
from rvc_core.pitch import F0_MAX_HZ, F0_MIN_HZ

VOICING_THRESHOLD = 0.6


class Praat:
    """Praat's "Sound: To Pitch (ac)", on the CPU."""

    name = "pm"
    extra_frames = 0

    def __init__(self, parselmouth: Any) -> None:
        self._parselmouth = parselmouth

    @property
    def nbytes(self) -> int:
        """Bytes of the weights: there are none."""
        return 0

    def to(self, device: str) -> None:
        """Stay on the CPU."""

    def estimate(self, samples: NDArray[np.floating], n_frames: int) -> NDArray[np.float64]:
        """F0 in Hz of 16 kHz `samples`, shape (n_frames,), 0 = unvoiced."""
        # Praat refuses clips below three periods of the lowest pitch: 960 samples.
        missing = max(0, MIN_SAMPLES - len(samples))
        padded = np.pad(
            np.asarray(samples, dtype=np.float64), (missing // 2, missing - missing // 2)
        )
        pitch = self._parselmouth.Sound(padded, SAMPLE_RATE).to_pitch_ac(
            time_step=HOP_LENGTH / SAMPLE_RATE,
            voicing_threshold=VOICING_THRESHOLD,
            pitch_floor=F0_MIN_HZ,
            pitch_ceiling=F0_MAX_HZ,
        )
        return centre(pitch.selected_array["frequency"], n_frames)


def load_praat() -> Praat:
    """Load Praat; raise `MissingPackage` without praat-parselmouth."""
    return Praat(require("parselmouth", "praat-parselmouth", "praat"))


def centre(f0: NDArray[np.floating], n_frames: int) -> NDArray[np.float64]:
    """`f0` amid `n_frames`: Praat's frames leave out half a window at either end."""
    surplus = max(0, len(f0) - n_frames)
    kept = f0[surplus // 2 : surplus // 2 + n_frames]
    missing = n_frames - len(kept)
    left = (missing + 1) // 2
    return np.pad(np.asarray(kept, dtype=np.float64), (left, missing - left))
