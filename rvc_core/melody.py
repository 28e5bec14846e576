"""From the detector's curve to the pitch that the voice shall sing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rvc_core.nn.source import frame_phase
from rvc_core.options import ConversionOptions
from rvc_core.pitch import (
    auto_semitones,
    fill_unvoiced,
    median_filter,
    resample_f0,
    shift_semitones,
    to_bins,
)
from rvc_core.synthesizer import Pitch, SynthesizerConfig

Curve = npt.NDArray[np.float64]

DETECTOR_RATE = 100  # frames per second
OFFICIAL_DEFAULTS: Mapping[str, Any] = {
    "unvoiced": "interpolate",
    "auto_transpose": False,
    "noise_scale": 0.66666,
}
STANDARD_DEFAULTS: Mapping[str, Any] = {**OFFICIAL_DEFAULTS, "unvoiced": "keep"}


def settle_options(
    options: ConversionOptions, voice_defaults: Mapping[str, Any]
) -> ConversionOptions:
    """Fill in what was left unset: by the voice, else by the program's defaults."""
    if options.compatibility == "official":
        defaults = dict(OFFICIAL_DEFAULTS)
    else:
        defaults = {**STANDARD_DEFAULTS, **voice_defaults}
    unset = {key: value for key, value in defaults.items() if getattr(options, key) is None}
    return replace(options, **unset)


@dataclass(frozen=True)
class Melody:
    """F0 in Hz on the voice's frames, 0 = unvoiced, and the frames that `protect` guards."""

    f0: npt.NDArray[np.float32]
    f0_bins: npt.NDArray[np.int64]
    protected: npt.NDArray[np.bool_]

    def pitch(self, config: SynthesizerConfig) -> Pitch:
        """The curve as the network takes it, with phases that run on from the first frame."""
        f0 = torch.from_numpy(self.f0)
        phase = frame_phase(f0, config.sample_rate, config.hop_length)
        return Pitch(f0, torch.from_numpy(self.f0_bins), phase)

    def frames(self, start: int, stop: int) -> Melody:
        """The part from frame `start` up to `stop`."""
        part = slice(start, stop)
        return Melody(self.f0[part], self.f0_bins[part], self.protected[part])


def plan_melody(
    detected: Curve, options: ConversionOptions, f0_median: float | None, frame_rate: float
) -> Melody:
    """Apply the settled `options` to the curve of the detector, which has 100 frames a second."""
    semitones = transposition(detected, options, f0_median)
    return shape_melody(detected, options, semitones, frame_rate)


def transposition(detected: Curve, options: ConversionOptions, f0_median: float | None) -> float:
    """By how many semitones the settled `options` move the curve, `auto_transpose` included."""
    if not options.auto_transpose or f0_median is None:
        return options.semitones
    return options.semitones + auto_semitones(_smoothed(detected, options), f0_median)


def shape_melody(
    detected: Curve, options: ConversionOptions, semitones: float, frame_rate: float
) -> Melody:
    """The curve of the detector as the settled `options` want it, moved by `semitones`."""
    curve = _smoothed(detected, options)
    filled = curve if options.unvoiced == "keep" else fill_unvoiced(curve)
    shifted = shift_semitones(filled, semitones)
    if frame_rate != DETECTOR_RATE:
        n_frames = int(len(curve) * frame_rate / DETECTOR_RATE)
        positions = (np.arange(n_frames) + 0.5) * DETECTOR_RATE / frame_rate - 0.5
        shifted, curve = resample_f0(shifted, positions), resample_f0(curve, positions)
    guard = curve if options.unvoiced == "protect" else shifted
    return Melody(shifted.astype(np.float32), to_bins(shifted), guard < 1)


def _smoothed(detected: Curve, options: ConversionOptions) -> Curve:
    return median_filter(detected) if options.filter_radius > 2 else detected
