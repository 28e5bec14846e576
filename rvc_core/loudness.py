"""Loudness of results: follow the recording's curve, a target in LUFS, no peak over full scale."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_LIMITER_S = 0.025  # a period and more of the lowest voice, so that no period is bent
_LOUDNESS_BLOCK_S = 0.4  # BS.1770 measures in blocks of this length
_MEASURED_PEAK = 0.25  # torchaudio's filters clip at 1, and they raise treble by 4 dB


def to_pcm16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return `samples` as 16-bit integers, truncated toward zero and clipped at full scale."""
    truncated = np.trunc(samples.astype(np.float32) * np.float32(32768))
    pcm: NDArray[np.int16] = np.clip(truncated, -32768, 32767).astype(np.int16)
    return pcm


def limit_peak(samples: NDArray[np.float32], ceiling: float = 0.99) -> NDArray[np.float32]:
    """Return `samples` quieter, so that no peak is over `ceiling`; unchanged if none is."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak <= ceiling:
        return samples
    limited: NDArray[np.float32] = samples / np.float32(peak / ceiling)
    return limited


class PeakLimiter:
    """Makes samples quieter around peaks over `ceiling`, part by part; others stay as they are.

    The gain is the least that any peak nearby needs, smoothed; it falls and rises within 50 ms.
    """

    def __init__(self, sample_rate: int, ceiling: float = 0.99) -> None:
        self._ceiling = ceiling
        self._half = max(1, round(_LIMITER_S * sample_rate / 2))
        self._reach = 4 * self._half  # as far off as a peak can lower a sample
        # what waits, and as much before it as its peaks reach
        self._heard: Samples = np.zeros(self._reach, np.float32)

    def push(self, samples: Samples) -> Samples:
        """The samples that are ready, given the next ones."""
        heard, reach = np.concatenate([self._heard, samples]), self._reach
        ready = len(heard) - 2 * reach
        if ready <= 0:
            self._heard = heard
            return np.zeros(0, np.float32)
        self._heard = heard[ready:]
        if np.abs(heard).max() <= self._ceiling:
            return heard[reach : reach + ready]
        limited = heard * self._gain(heard)
        return np.clip(limited, -self._ceiling, self._ceiling)[reach : reach + ready]

    def finish(self) -> Samples:
        """The samples that are left."""
        return self.push(np.zeros(self._reach, np.float32))

    def _gain(self, samples: Samples) -> NDArray[np.float32]:
        from scipy.ndimage import minimum_filter1d, uniform_filter1d

        needed = self._ceiling / np.maximum(np.abs(samples, dtype=np.float64), self._ceiling)
        gain = minimum_filter1d(needed, 4 * self._half + 1, mode="constant", cval=1.0)
        for _ in range(2):  # means over places that all have the least gain keep it
            gain = uniform_filter1d(gain, 2 * self._half + 1, mode="constant", cval=1.0)
        smoothed: NDArray[np.float32] = gain.astype(np.float32)
        return smoothed


def match_loudness(
    converted: Samples,
    converted_rate: int,
    reference: Samples | NDArray[np.float64],
    reference_rate: int,
    mix: float,
) -> Samples:
    """Give `converted` the loudness curve of `reference`: wholly at mix 0, not at all at mix 1.

    Curves are in steps of half a second and are stretched over the length of `converted`.
    """
    if mix == 1 or len(converted) == 0:
        return converted
    wanted = loudness_steps(reference, reference_rate)
    matcher = LoudnessMatcher(wanted, converted_rate, len(converted), mix)
    return np.concatenate([matcher.push(converted), matcher.finish()])


class LoudnessMatcher:
    """Gives `n_samples` that come part by part the loudness curve `wanted`, in half-second steps.

    It holds up to two seconds back: a step is the loudness of a second around it.
    """

    def __init__(
        self, wanted: NDArray[np.float32], sample_rate: int, n_samples: int, mix: float
    ) -> None:
        self._wanted, self._mix = wanted, np.float32(mix)
        self._rate, self._half = sample_rate, sample_rate // 2
        self._n_samples, self._n_steps = n_samples, 1 + n_samples // self._half
        self._steps: Samples = np.zeros(0, np.float32)
        # silence before the first sample
        self._unmeasured: Samples = np.zeros(self._half, np.float32)
        self._waiting: Samples = np.zeros(0, np.float32)
        self._place = 0  # of the first sample that waits

    def push(self, samples: Samples) -> Samples:
        """The samples that are ready, given the next ones."""
        self._waiting = np.concatenate([self._waiting, samples])
        self._measure(samples)
        known, scale = len(self._steps), self._n_steps / self._n_samples
        ready = self._n_samples
        if known < self._n_steps:  # a sample lies between two steps; one less, for rounding
            ready = math.floor((known - 0.5) / scale - 0.5) - 1 if known > 1 else 0
        return self._release(ready - self._place)

    def finish(self) -> Samples:
        """The samples that are left."""
        self._measure(np.zeros(self._half, np.float32))
        return self._release(len(self._waiting))

    def _measure(self, samples: Samples) -> None:
        heard = np.concatenate([self._unmeasured, samples])
        n_whole = len(heard) // self._half - 1
        if n_whole > 0:
            self._steps = np.concatenate([self._steps, _rms_of_seconds(heard, self._half)])
            heard = heard[n_whole * self._half :]
        self._unmeasured = heard

    def _release(self, n_samples: int) -> Samples:
        n_samples = min(max(0, n_samples), len(self._waiting))
        first, last = self._place, self._place + n_samples
        wanted = _stretch(self._wanted, self._n_samples, first, last)
        present = _stretch(self._steps, self._n_samples, first, last, self._n_steps)
        present = np.maximum(present, np.float32(1e-6))
        gain = wanted ** (1 - self._mix) * present ** (self._mix - 1)
        released, self._waiting = self._waiting[:n_samples], self._waiting[n_samples:]
        self._place = last
        matched: Samples = (released * gain).astype(np.float32)
        return matched


def _stretch(
    steps: NDArray[np.float32], length: int, start: int, stop: int, n_steps: int | None = None
) -> NDArray[np.float32]:
    """Samples `start` up to `stop` of `steps` interpolated to `length`; later steps may be missing.

    Rounded as torch.nn.functional.interpolate rounds, which official RVC uses.
    """
    n_steps = n_steps or len(steps)
    scale = np.float64(np.float32(n_steps) / np.float32(length))
    centres = (np.arange(start, stop) + 0.5).astype(np.float32)
    places = np.maximum((scale * centres - 0.5).astype(np.float32), np.float32(0))
    below = np.minimum(places.astype(np.int64), n_steps - 1)
    above = np.minimum(below + 1, n_steps - 1)
    share = np.clip(places - below.astype(np.float32), np.float32(0), np.float32(1))
    rising = (share * steps[above]).astype(np.float64)
    falling = (np.float32(1) - share).astype(np.float64) * steps[below]
    stretched: NDArray[np.float32] = (falling + rising).astype(np.float32)
    return stretched


def loudness_steps(
    samples: NDArray[np.float32] | NDArray[np.float64], sample_rate: int
) -> NDArray[np.float32]:
    """Root mean square over one second, centred on every half second; silence beyond the ends."""
    half_second = sample_rate // 2
    silence = np.zeros(half_second, np.float32)
    return _rms_of_seconds(np.concatenate([silence, samples, silence]), half_second)


def _rms_of_seconds(
    samples: NDArray[np.float32] | NDArray[np.float64], half_second: int
) -> NDArray[np.float32]:
    power = np.square(samples, dtype=np.float32)
    seconds = np.lib.stride_tricks.sliding_window_view(power, 2 * half_second)
    steps: NDArray[np.float32] = np.sqrt(seconds[::half_second].mean(axis=1))
    return steps


def normalise_loudness(
    samples: NDArray[np.float32], rate: int, lufs: float = -16.0
) -> NDArray[np.float32]:
    """Bring `samples` to `lufs` (ITU-R BS.1770-4), or as near as peaks below 0.99 allow.

    What is below the standard's gate of -70 LUFS counts as silence and stays as it is.
    """
    loudness = _measure_lufs(samples, rate)
    if not math.isfinite(loudness):
        return samples
    return limit_peak(samples * np.float32(10 ** ((lufs - loudness) / 20)))


def _measure_lufs(samples: NDArray[np.float32], rate: int) -> float:
    """Return the loudness, not finite for silence; clips too short to measure are repeated."""
    import torch
    from torchaudio.functional import loudness

    peak = float(np.abs(samples).max(initial=0.0))
    if peak == 0:
        return -math.inf
    scale = min(1.0, _MEASURED_PEAK / peak)
    repeats = math.ceil(_LOUDNESS_BLOCK_S * rate / len(samples))
    measured = torch.from_numpy(np.tile(samples.astype(np.float64) * scale, repeats))
    return float(loudness(measured[None], rate)) - 20 * math.log10(scale)
