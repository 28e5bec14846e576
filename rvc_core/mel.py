"""Banks of mel filters, equal to librosa's; importing librosa takes longer than most networks."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

MelScale = Literal["htk", "slaney"]

# Slaney's scale: linear up to 1 kHz, 15 mel there, then 27 mel for each factor of 6.4.
_KNEE_HZ, _KNEE_MEL = 1000.0, 15.0
_LOG_STEP = np.log(6.4) / 27


def mel_bank(
    scale: MelScale, n_mels: int, n_fft: int, sample_rate: int, low_hz: float, high_hz: float
) -> NDArray[np.float32]:
    """Triangular filters of equal area (n_mels, n_fft / 2 + 1), for magnitudes or powers."""
    to_mel, to_hz = (_htk_mel, _htk_hz) if scale == "htk" else (_slaney_mel, _slaney_hz)
    low, high = to_mel(np.array([low_hz, high_hz]))
    corners = to_hz(np.linspace(low, high, n_mels + 2))
    distances = corners[:, None] - np.fft.rfftfreq(n_fft, 1 / sample_rate)
    widths = np.diff(corners)[:, None]
    rising = -distances[:-2] / widths[:-1]
    falling = distances[2:] / widths[1:]
    triangles = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    areas = (corners[2:] - corners[:-2])[:, None] / 2
    return np.asarray(triangles / areas, dtype=np.float32)


def _htk_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(2595 * np.log10(1 + hz / 700))


def _htk_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


def _slaney_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = np.log(np.maximum(hz, _KNEE_HZ) / _KNEE_HZ) / _LOG_STEP  # 0 up to the knee
    return np.asarray(np.minimum(hz, _KNEE_HZ) * (_KNEE_MEL / _KNEE_HZ) + above)


def _slaney_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = np.minimum(mel, _KNEE_MEL) * (_KNEE_HZ / _KNEE_MEL)
    return np.asarray(linear * np.exp(_LOG_STEP * np.maximum(mel - _KNEE_MEL, 0)))
