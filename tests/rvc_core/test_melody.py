"""From the detected curve to the pitch that is sung."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rvc_core.melody import Melody, plan_melody, settle_options
from rvc_core.options import ConversionOptions

DETECTED = np.array([0.0, 100.0, 0.0, 200.0, 0.0])


def plan(
    detected: Any = DETECTED, median: float | None = None, rate: float = 100, **options: Any
) -> Melody:
    settled = settle_options(ConversionOptions(**options), {})
    return plan_melody(np.asarray(detected, np.float64), settled, median, rate)


def test_unvoiced_frames_stay_unvoiced_and_are_protected() -> None:
    melody = plan(unvoiced="keep")
    np.testing.assert_allclose(melody.f0, DETECTED)
    assert melody.protected.tolist() == [True, False, True, False, True]


def test_interpolating_fills_them_and_leaves_nothing_to_protect() -> None:
    melody = plan(unvoiced="interpolate")
    np.testing.assert_allclose(melody.f0, [100, 100, 150, 200, 200])
    assert not melody.protected.any()


def test_protecting_fills_them_and_remembers_what_was_unvoiced() -> None:
    melody = plan(unvoiced="protect")
    np.testing.assert_allclose(melody.f0, [100, 100, 150, 200, 200])
    assert melody.protected.tolist() == [True, False, True, False, True]


def test_semitones_transpose() -> None:
    np.testing.assert_allclose(plan(semitones=12).f0, 2 * DETECTED)


def test_auto_transposition_goes_to_the_voices_median_and_counts_from_there() -> None:
    melody = plan([100, 100, 100], median=50.0, auto_transpose=True, semitones=12)
    np.testing.assert_allclose(melody.f0, [100, 100, 100])


def test_without_a_median_there_is_no_auto_transposition() -> None:
    np.testing.assert_allclose(plan(auto_transpose=True).f0, DETECTED)


def test_the_filter_takes_out_a_single_jump() -> None:
    curve = [100, 100, 400, 100, 100]
    np.testing.assert_allclose(plan(curve, filter_radius=3).f0[1:4], 100)
    np.testing.assert_allclose(plan(curve, filter_radius=2).f0, curve)


def test_the_curve_is_read_at_the_frames_of_the_voice() -> None:
    melody = plan(np.linspace(100, 200, 1_000), rate=86.1328125)
    assert len(melody.f0) == 861
    assert melody.f0[430] == pytest.approx(150, abs=0.2)


def test_unset_options_follow_voice_then_program_and_official_its_own() -> None:
    voice = {"noise_scale": 0.4, "auto_transpose": True}
    settled = settle_options(ConversionOptions(), voice)
    assert (settled.noise_scale, settled.auto_transpose, settled.unvoiced) == (0.4, True, "keep")
    assert settle_options(ConversionOptions(noise_scale=0.1), voice).noise_scale == 0.1
    official = settle_options(ConversionOptions(compatibility="official"), voice)
    assert (official.noise_scale, official.auto_transpose) == (0.66666, False)
    assert official.unvoiced == "interpolate"
