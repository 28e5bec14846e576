"""Curves of Official RVC (July 2026, CPU) on a stored recipe of speech-like sound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

from rvc_core.f0 import F0Estimator
from rvc_core.f0.rmvpe import RMVPE
from rvc_core.pitch import fill_unvoiced, shift_semitones, to_bins
from tests.parity import recipe
from tests.parity.clips import make_clip
from tests.rvc_core.f0.signals import cents

EstimatorOf = Callable[[str], F0Estimator]


def official_input(clip: str) -> NDArray[np.float64]:
    """What Official hands to its estimators: 16 bits, peak 0.95 at most, above 48 Hz, padded."""
    samples = np.rint(make_clip(clip)[0] * 32767).astype(np.float32) / 32768
    samples = samples / max(1.0, np.abs(samples).max() / 0.95)
    b, a = signal.butter(5, 48, "high", fs=16_000)
    return np.pad(signal.filtfilt(b, a, samples), 16_000, mode="reflect")


def curve(estimator: F0Estimator, clip: str) -> NDArray[np.float64]:
    samples = official_input(clip)
    f0 = estimator.estimate(samples, len(samples) // 160 + estimator.extra_frames)
    return fill_unvoiced(f0)


def golden(name: str) -> Any:
    return np.load(recipe.DATA / "goldens" / f"{name}.npz")


def test_rmvpe_equals_official(rmvpe: RMVPE) -> None:
    official, f0 = golden("f0_rmvpe"), curve(rmvpe, "s3")
    assert f0.shape == official["f0"].shape
    assert cents(f0, official["f0"]).max() < 0.02
    np.testing.assert_array_equal(to_bins(f0), official["coarse"])


def test_fcpe_equals_official(estimator_of: EstimatorOf) -> None:
    official, f0 = golden("index_v2"), curve(estimator_of("fcpe"), "s3")
    assert f0.shape == official["f0"].shape
    assert cents(f0, official["f0"]).max() < 0.02
    np.testing.assert_array_equal(to_bins(f0), official["coarse"])


@pytest.mark.parametrize(
    ("name", "clip", "semitones"),
    [("voice_v1_40k_f0", "s3", 0), ("f0_pm_down5", "s3", -5), ("short_pm", "s0.3", 0)],
)
def test_praat_equals_official(
    estimator_of: EstimatorOf, name: str, clip: str, semitones: float
) -> None:
    official, f0 = golden(name), shift_semitones(curve(estimator_of("pm"), clip), semitones)
    np.testing.assert_allclose(f0, official["f0"], rtol=2e-7)  # two roundings of float32
    np.testing.assert_array_equal(to_bins(f0), official["coarse"])
