"""Sounds whose pitch is known, and recordings; 16 kHz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

RATE = 16_000


def glide(seconds: float, start_hz: float = 100.0, end_hz: float = 300.0) -> NDArray[np.float32]:
    """A tone of ten harmonics that rises evenly in log frequency."""
    times = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(start_hz * (end_hz / start_hz) ** (times / seconds)) / RATE
    tone = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 11))
    return np.asarray(0.2 * tone, dtype=np.float32)


def glide_f0(seconds: float) -> NDArray[np.float64]:
    """The pitch of `glide`, 100 to 300 Hz, every 10 ms."""
    times = np.arange(round(seconds * 100)) / 100
    return np.asarray(100 * 3 ** (times / seconds))


def cents(f0: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """Absolute differences in cents over frames that are voiced in both curves."""
    both = (f0 > 0) & (other > 0)
    return np.asarray(np.abs(1200 * np.log2(f0[both] / other[both].astype(np.float64))))


def recording(name: str) -> NDArray[np.float32]:
    """A recording of English speech from the wheel pytest-audioeval."""
    import soundfile

    from rvc_core.audio import resample

    package = pytest.importorskip("pytest_audioeval")
    path = Path(package.__path__[0]) / "samples" / "audio" / "en" / f"{name}.wav"
    samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    return resample(samples.mean(axis=1), sample_rate, RATE)
