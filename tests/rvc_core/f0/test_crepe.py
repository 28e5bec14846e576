from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from rvc_core.f0.crepe import best_path, decode_salience


def hz_of_bin(number: float) -> float:
    return float(10 * 2 ** ((1997.3794084376191 + 20 * number) / 1200))


def peaks(bins: list[int], height: float = 0.9) -> NDArray[np.float32]:
    """Salience (frames, 360) with one narrow peak a frame."""
    distance = np.abs(np.arange(360) - np.array(bins)[:, None])
    return np.asarray(height * np.maximum(0, 1 - distance / 3), dtype=np.float32)


def test_a_steady_peak_gives_its_pitch() -> None:
    np.testing.assert_allclose(decode_salience(peaks([150] * 5)), [hz_of_bin(150)] * 5, rtol=1e-6)


def test_decoding_is_repeatable() -> None:
    salience = np.random.default_rng(1).random((20, 360), dtype=np.float32)
    np.testing.assert_array_equal(decode_salience(salience), decode_salience(salience))


def test_a_single_octave_error_is_passed_over() -> None:
    salience = peaks([150] * 9)
    salience[4] = np.maximum(peaks([150], 0.5), peaks([210], 0.9))[0]
    np.testing.assert_allclose(decode_salience(salience), [hz_of_bin(150)] * 9, rtol=1e-3)


def test_frames_of_low_periodicity_are_unvoiced() -> None:
    salience = np.concatenate([peaks([150] * 4), peaks([150] * 4, 0.09)])
    np.testing.assert_array_equal(decode_salience(salience) > 0, [True] * 4 + [False] * 4)


def test_one_weak_frame_among_strong_ones_stays_voiced() -> None:
    salience = peaks([150] * 5)
    salience[2] *= 0.05
    assert (decode_salience(salience) > 0).all()


@pytest.mark.parametrize(("peak", "limit"), [(5, 50.0), (355, 1100.0)])
def test_pitch_stays_within_range(peak: int, limit: float) -> None:
    f0 = decode_salience(peaks([peak] * 3, 0.9) + peaks([150] * 3, 0.2))
    assert ((f0 >= 50) & (f0 <= 1100)).all()
    assert not np.isclose(f0, limit, rtol=0.01).any()


def test_the_best_path_is_the_best_of_all_paths() -> None:
    salience = np.random.default_rng(2).uniform(0, 0.3, (5, 4)).astype(np.float32)

    def score(path: tuple[int, ...]) -> float:
        steps = np.log(12 - np.abs(np.diff(path)))
        return float(salience[range(5), path].sum() + steps.sum())

    best = max(product(range(4), repeat=5), key=score)
    assert best != tuple(salience.argmax(axis=1))  # steps count, too
    assert tuple(best_path(salience)) == best


def test_a_single_frame_has_a_path() -> None:
    assert best_path(peaks([7])).tolist() == [7]
