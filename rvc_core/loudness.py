"""Loudness of results: follow the recording's curve, a target in LUFS, no peak over full scale."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

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


def match_loudness(
    converted: NDArray[np.float32],
    converted_rate: int,
    reference: NDArray[np.float32] | NDArray[np.float64],
    reference_rate: int,
    mix: float,
) -> NDArray[np.float32]:
    """Give `converted` the loudness curve of `reference`: wholly at mix 0, not at all at mix 1.

    Curves are in steps of half a second and are stretched over the length of `converted`.
    """
    if mix == 1 or len(converted) == 0:
        return converted
    wanted = _loudness_curve(reference, reference_rate, len(converted))
    present = np.maximum(
        _loudness_curve(converted, converted_rate, len(converted)), np.float32(1e-6)
    )
    gain = wanted ** np.float32(1 - mix) * present ** np.float32(mix - 1)
    matched: NDArray[np.float32] = (converted * gain).astype(np.float32)
    return matched


def _loudness_curve(
    samples: NDArray[np.float32] | NDArray[np.float64], sample_rate: int, length: int
) -> NDArray[np.float32]:
    """Root mean square over one second every half second, interpolated to (length,)."""
    import torch

    curve = loudness_steps(samples, sample_rate)
    stretched: NDArray[np.float32] = torch.nn.functional.interpolate(
        torch.from_numpy(curve)[None, None], size=length, mode="linear", align_corners=False
    )[0, 0].numpy()
    return stretched


def loudness_steps(
    samples: NDArray[np.float32] | NDArray[np.float64], sample_rate: int
) -> NDArray[np.float32]:
    """Root mean square over one second, centred on every half second; silence beyond the ends."""
    half_second = sample_rate // 2
    power = np.pad(np.square(samples, dtype=np.float32), half_second)
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
