"""What is converted where no recording is given."""

from __future__ import annotations

import io

import numpy as np
import soundfile

RATE = 16_000


def sung(seconds: float) -> bytes:
    """A vowel-like tone with vibrato, as a WAV file."""
    time_s = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(220 * (1 + 0.03 * np.sin(2 * np.pi * 5 * time_s))) / RATE
    harmonics = sum(np.sin(n * phase) / n for n in range(1, 12))
    file = io.BytesIO()
    soundfile.write(file, 0.2 * harmonics, RATE, format="WAV")
    return file.getvalue()
