"""A recording made ready for the networks: 16 kHz, bounded, without rumble, with context."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rvc_core.audio import Audio, mono_like_ffmpeg, resample, resample_like_ffmpeg
from rvc_core.errors import EmptyAudio, NonFiniteAudio

SAMPLE_RATE = 16_000
CONTEXT = SAMPLE_RATE  # samples added at each end, so that the networks see a surrounding
SHORTEST = SAMPLE_RATE // 10  # shorter recordings are filled up with silence
PEAK = 0.95
HIGH_PASS_ORDER, HIGH_PASS_HZ = 5, 48

Samples = npt.NDArray[np.float64]


def prepare(audio: Audio, *, like_ffmpeg: bool = False) -> Samples:
    """Samples at 16 kHz, at least 0.1 s of them, high-passed without phase shift.

    `like_ffmpeg` mixes channels and resamples as official RVC does.
    """
    if len(audio.samples) == 0:
        raise EmptyAudio("The audio has no samples.", param="audio")
    if not np.isfinite(audio.samples).all():
        raise NonFiniteAudio("The audio has samples that are NaN or infinite.", param="audio")
    if like_ffmpeg:
        samples = resample_like_ffmpeg(mono_like_ffmpeg(audio), audio.sample_rate, SAMPLE_RATE)
    else:
        samples = resample(audio.samples, audio.sample_rate, SAMPLE_RATE)
    excess = np.abs(samples).max(initial=0.0) / PEAK
    if excess > 1:
        samples = samples / excess
    missing = SHORTEST - len(samples)
    if missing > 0:
        samples = np.pad(samples, (0, missing))
    return _high_pass(samples)


def _high_pass(samples: npt.NDArray[np.float32]) -> Samples:
    from scipy import signal

    numerator, denominator = signal.butter(HIGH_PASS_ORDER, HIGH_PASS_HZ, "high", fs=SAMPLE_RATE)
    return np.asarray(signal.filtfilt(numerator, denominator, samples), np.float64)


def add_context(samples: Samples, *, reflect: bool = True) -> Samples:
    """The samples with one second reflected at each end, as HuBERT voices were trained.

    Whisper's encoder hears reversed speech as speech: for it the second is silent.
    """
    return np.pad(samples, CONTEXT, mode="reflect" if reflect else "constant")
