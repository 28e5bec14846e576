"""Speech-like recordings made from seeds: gliding harmonics, formants, hiss and pauses."""

from __future__ import annotations

import hashlib
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

RATE = 16_000
SECONDS_AND_SEEDS = {"s0.3": (0.3, 7), "s3": (3.0, 1), "s70": (70.0, 4)}


def make_clip(name: str) -> tuple[Array, int]:
    """The recording (samples,) or (samples, channels) in [-1, 1], and its rate."""
    if name == "stereo2":
        left, right = speechlike(2, 11, 44_100), speechlike(2, 12, 44_100)
        return np.stack([left, right], axis=1), 44_100
    seconds, seed = SECONDS_AND_SEEDS[name]
    return speechlike(seconds, seed), RATE


def speechlike(seconds: float, seed: int, rate: int = RATE) -> Array:
    """Syllables of vowels, hiss and pauses, of random pitch between 95 and 260 Hz and loudness."""
    random = np.random.RandomState(seed)
    samples = np.zeros(round(seconds * rate))
    start = 0
    while start < len(samples):
        length = int(random.uniform(0.12, 0.45) * rate)
        kind = random.choice(["vowel", "vowel", "vowel", "hiss", "pause"])
        length = min(length, len(samples) - start)
        samples[start : start + length] = _syllable(kind, length, rate, random)
        start += length
    return np.clip(samples, -0.98, 0.98)


def _syllable(kind: str, length: int, rate: int, random: np.random.RandomState) -> Array:
    if kind == "vowel":
        return _vowel(length, rate, random)
    level = random.uniform(0.01, 0.06) if kind == "hiss" else 0.0008
    return np.asarray(level * random.standard_normal(length))


def _vowel(length: int, rate: int, random: np.random.RandomState) -> Array:
    glide = np.linspace(0, 1, length)
    start_hz = random.uniform(95, 260)
    f0 = start_hz * np.exp(np.linspace(0, random.uniform(-0.3, 0.3), len(glide)))
    phase = 2 * np.pi * np.cumsum(f0) / rate
    formants = [(random.uniform(300, 800), 120), (random.uniform(900, 2200), 200), (2800, 300)]
    vowel = np.zeros(length)
    for harmonic in range(1, 25):
        hertz = f0 * harmonic
        peaks = [np.exp(-0.5 * ((hertz - f) / width) ** 2) for f, width in formants]
        amplitude = peaks[0] + peaks[1] + peaks[2] + 0.02 / harmonic
        vowel += np.where(hertz < rate * 0.45, amplitude, 0) * np.sin(harmonic * phase)
    vowel += 0.004 * random.standard_normal(length)
    places = np.arange(length)
    edge = np.minimum(1, np.minimum(places, places[::-1]) / (0.02 * rate))
    return np.asarray(vowel * (random.uniform(0.1, 0.35) * edge))


def write_clip(path: Path, samples: Array, rate: int) -> str:
    """Write 16-bit wav; return the SHA-256 of its samples."""
    pcm = (samples * 32767).round().astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if pcm.ndim == 1 else pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())
    return hashlib.sha256(pcm.tobytes()).hexdigest()
