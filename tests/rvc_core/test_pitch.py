from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import medfilt

from rvc_core.pitch import (
    auto_semitones,
    fill_unvoiced,
    median_f0,
    median_filter,
    resample_f0,
    shift_semitones,
    to_bins,
)


def curve(*hz: float) -> NDArray[np.float32]:
    return np.array(hz, dtype=np.float32)


def test_an_octave_doubles_voiced_frames_only() -> None:
    np.testing.assert_allclose(shift_semitones(curve(0, 110), 12), [0, 220], rtol=1e-7)


def test_a_shift_leaves_its_argument_as_it_was() -> None:
    f0 = curve(100, 0)
    shift_semitones(f0, 7)
    np.testing.assert_array_equal(f0, [100, 0])


def test_unvoiced_frames_are_filled_with_straight_lines_and_level_ends() -> None:
    filled = fill_unvoiced(curve(0, 100, 0, 0, 400, 0))
    np.testing.assert_allclose(filled, [100, 100, 200, 300, 400, 400])


def test_filling_an_unvoiced_curve_gives_zeros() -> None:
    np.testing.assert_array_equal(fill_unvoiced(curve(0, 0, 0)), [0, 0, 0])


def test_filling_an_empty_curve_gives_an_empty_curve() -> None:
    assert fill_unvoiced(curve()).shape == (0,)


@pytest.mark.parametrize(
    ("hz", "expected"),
    [(0, 1), (50, 1), (55, 3), (110, 23), (440, 122), (1100, 255), (49, 1), (2000, 255)],
)
def test_bins_are_those_of_official_rvc(hz: float, expected: int) -> None:
    assert to_bins(curve(hz))[0] == expected


@pytest.mark.parametrize("hz", [np.nan, np.inf, -np.inf, -1e9, -1.0])
def test_no_value_leaves_the_range_of_bins(hz: float) -> None:
    assert 1 <= to_bins(curve(hz))[0] <= 255


def test_bins_are_64_bit_indices() -> None:
    assert to_bins(curve(100)).dtype == np.int64


def test_the_median_filter_is_that_of_scipy() -> None:
    generator = np.random.default_rng(3)
    f0 = generator.uniform(80, 400, 200) * (generator.random(200) > 0.3)
    np.testing.assert_array_equal(median_filter(f0), medfilt(f0.astype(np.float64), 3))


def test_the_median_filter_leaves_its_argument_as_it_was() -> None:
    f0 = curve(100, 900, 100)
    filtered = median_filter(f0)
    assert filtered[1] == 100
    assert f0[1] == 900


def test_the_median_is_over_voiced_frames() -> None:
    assert median_f0(curve(0, 0, 0, 100, 200, 900)) == 200


def test_an_unvoiced_curve_has_no_median() -> None:
    assert median_f0(curve(0, 0)) is None


def test_auto_transposition_brings_the_median_to_the_target() -> None:
    f0 = curve(0, 90, 110, 130, 0)
    shifted = shift_semitones(f0, auto_semitones(f0, 220))
    assert median_f0(shifted) == pytest.approx(220, rel=1e-6)


def test_auto_transposition_ignores_a_few_octave_errors() -> None:
    f0 = curve(*[110.0] * 20, *[55.0] * 3, *[440.0] * 4)
    assert auto_semitones(f0, 110) == 0.0


def test_auto_transposition_of_an_unvoiced_curve_is_zero() -> None:
    assert auto_semitones(curve(0, 0), 220) == 0.0


def test_resampling_at_whole_positions_gives_the_curve_back() -> None:
    f0 = curve(0, 100, 150, 0, 0, 90)
    np.testing.assert_allclose(resample_f0(f0, np.arange(6.0)), f0, rtol=1e-6)


def test_resampling_between_frames_takes_the_middle_in_log_frequency() -> None:
    assert resample_f0(curve(100, 400), np.array([0.5]))[0] == pytest.approx(200, rel=1e-6)


def test_resampled_frames_are_as_voiced_as_the_nearest_frame() -> None:
    positions = np.array([0.4, 0.6, 1.4, 1.6])
    voiced = resample_f0(curve(100, 0, 200), positions) > 0
    np.testing.assert_array_equal(voiced, [True, False, False, True])


def test_resampling_holds_the_curve_beyond_its_ends() -> None:
    sampled = resample_f0(curve(100, 200), np.array([-3.0, 7.0]))
    np.testing.assert_allclose(sampled, [100, 200], rtol=1e-6)


def test_resampling_an_unvoiced_curve_gives_zeros() -> None:
    np.testing.assert_array_equal(resample_f0(curve(0, 0), np.array([0.3, 1.0])), [0, 0])
