from __future__ import annotations

import itertools
import math

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rvc_core.loudness import (
    LoudnessMatcher,
    PeakLimiter,
    limit_peak,
    loudness_steps,
    match_loudness,
    normalise_loudness,
    to_pcm16,
)
from tests.rvc_core.recordings import sine

bounded = settings(max_examples=25, deadline=None)


def swelling_noise(n_samples: int, seed: int) -> NDArray[np.float32]:
    """Noise whose loudness changes in every half second."""
    random = np.random.default_rng(seed)
    steps = random.uniform(0.01, 0.3, n_samples // 8_000 + 2)
    swell = np.interp(np.arange(n_samples) / 8_000, np.arange(len(steps)), steps)
    return (swell * random.standard_normal(n_samples)).astype(np.float32)


def curve(samples: NDArray[np.float32], rate: int, length: int) -> NDArray[np.float64]:
    """The loudness curve written out: one-second windows centred on every half second."""
    half = rate // 2
    padded = np.pad(samples.astype(np.float64), half)
    starts = range(0, len(samples) + 1, half)
    steps = [math.sqrt(np.mean(padded[start : start + 2 * half] ** 2)) for start in starts]
    places = (np.arange(length) + 0.5) * len(steps) / length - 0.5
    return np.interp(places, np.arange(len(steps)), steps)


def test_pcm_is_truncated_toward_zero() -> None:
    values = np.array([0.0, 1.99, -1.99, 16384.5, -0.5], np.float32) / np.float32(32768)
    np.testing.assert_array_equal(to_pcm16(values), [0, 1, -1, 16384, 0])


def test_pcm_is_clipped_at_full_scale() -> None:
    pcm = to_pcm16(np.array([1.0, 7.0, -1.0, -7.0, 0.99], np.float32))
    np.testing.assert_array_equal(pcm, [32767, 32767, -32768, -32768, 32440])
    assert pcm.dtype == np.int16


def test_peaks_under_the_ceiling_are_left_alone() -> None:
    samples = sine(0.1, 16_000, amplitude=0.98)
    assert limit_peak(samples) is samples


@pytest.mark.parametrize("ceiling", [0.99, 0.5])
def test_a_peak_over_the_ceiling_lowers_everything(ceiling: float) -> None:
    samples = np.array([0.5, -2.0, 1.0], np.float32)
    limited = limit_peak(samples, ceiling)
    np.testing.assert_allclose(limited, samples * (ceiling / 2.0), rtol=1e-6)
    np.testing.assert_array_equal(samples, [0.5, -2.0, 1.0])


def test_no_samples_have_no_peak() -> None:
    assert len(limit_peak(np.zeros(0, np.float32))) == 0


def test_a_full_mix_keeps_the_converted_loudness() -> None:
    converted = sine(1.0, 16_000)
    assert match_loudness(converted, 16_000, np.zeros(16_000), 16_000, 1.0) is converted


@pytest.mark.parametrize("mix", [0.0, 0.25, 0.8])
def test_loudness_is_matched_as_official_rvc_does(mix: float) -> None:
    converted, reference = swelling_noise(90_001, 1), swelling_noise(36_000, 2)
    before = converted.copy()
    matched = match_loudness(converted, 40_000, reference, 16_000, mix)
    wanted = curve(reference, 16_000, len(converted))
    present = np.maximum(curve(converted, 40_000, len(converted)), 1e-6)
    expected = before * wanted ** (1 - mix) * present ** (mix - 1)
    np.testing.assert_allclose(matched, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(converted, before)
    assert matched.dtype == np.float32


@bounded
@given(
    n_samples=st.integers(1, 20_000),
    rate=st.integers(2, 12_000),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_the_loudness_curve_is_that_of_librosa(
    n_samples: int, rate: int, dtype: type[np.floating]
) -> None:
    samples = (0.1 * np.random.default_rng(n_samples).standard_normal(n_samples)).astype(dtype)
    half = rate // 2
    expected = librosa.feature.rms(y=samples, frame_length=2 * half, hop_length=half)[0]
    steps = loudness_steps(samples, rate)
    np.testing.assert_allclose(steps, expected, rtol=1e-6)
    assert steps.dtype == np.float32


def test_a_silent_recording_silences_the_result() -> None:
    converted = sine(1.0, 40_000)
    assert not match_loudness(converted, 40_000, np.zeros(16_000), 16_000, 0.25).any()


def test_a_silent_result_stays_silent() -> None:
    matched = match_loudness(np.zeros(40_000, np.float32), 40_000, sine(1.0, 16_000), 16_000, 0.0)
    assert not matched.any()


@bounded
@given(n_converted=st.integers(0, 50_000), n_reference=st.integers(1, 20_000))
def test_any_length_is_matched(n_converted: int, n_reference: int) -> None:
    converted, reference = np.ones(n_converted, np.float32), np.ones(n_reference)
    matched = match_loudness(converted, 40_000, reference, 16_000, 0.5)
    assert matched.shape == converted.shape
    assert np.isfinite(matched).all()


def in_parts(
    step: LoudnessMatcher | PeakLimiter, samples: NDArray[np.float32], sizes: list[int]
) -> NDArray[np.float32]:
    """What a step gives that is fed parts of `sizes`, in turn."""
    parts: list[NDArray[np.float32]] = []
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(samples):
            return np.concatenate([*parts, step.finish()])
        parts.append(step.push(samples[start : start + size]))
        start += size
    raise AssertionError


sizes = st.lists(st.integers(1, 20_000), min_size=1, max_size=4)


@bounded
@given(n_samples=st.integers(1, 90_000), sizes=sizes, mix=st.floats(0, 0.99))
def test_loudness_is_matched_the_same_however_it_is_parted(
    n_samples: int, sizes: list[int], mix: float
) -> None:
    converted, reference = swelling_noise(n_samples, 1), swelling_noise(36_000, 2)
    wanted = loudness_steps(reference, 16_000)
    parted = in_parts(LoudnessMatcher(wanted, 40_000, n_samples, mix), converted, sizes)
    whole = match_loudness(converted, 40_000, reference, 16_000, mix)
    np.testing.assert_array_equal(parted, whole)


def test_matched_loudness_is_held_back_for_two_seconds_at_most() -> None:
    converted = swelling_noise(400_000, 1)
    matcher = LoudnessMatcher(np.ones(21, np.float32), 40_000, 400_000, 0.5)
    ready = sum(len(matcher.push(part)) for part in np.split(converted[:200_000], 5))
    assert 200_000 - 80_000 <= ready < 200_000


@bounded
@given(n_samples=st.integers(0, 30_000), sizes=sizes, seed=st.integers(0, 3))
def test_no_peak_passes_the_limiter_and_the_parts_do_not_matter(
    n_samples: int, sizes: list[int], seed: int
) -> None:
    loud = (2 * swelling_noise(n_samples, seed)).astype(np.float32)
    once = in_parts(PeakLimiter(16_000), loud, [max(1, n_samples)])
    parted = in_parts(PeakLimiter(16_000), loud, sizes)
    assert len(once) == n_samples
    assert np.abs(once).max(initial=0.0) <= 0.99
    np.testing.assert_allclose(parted, once, atol=2e-7)


def test_the_limiter_leaves_everything_alone_that_is_no_peak() -> None:
    samples = sine(1.0, 16_000, amplitude=0.5)
    samples[8_000] = 1.5
    limited = in_parts(PeakLimiter(16_000), samples, [1_000])
    near = slice(8_000 - 800, 8_000 + 801)  # 50 ms on each side
    outside = np.delete(np.arange(16_000), np.arange(16_000)[near])
    np.testing.assert_array_equal(limited[outside], samples[outside])
    assert limited[8_000] == pytest.approx(0.99, abs=1e-3)


def test_the_limiter_changes_its_gain_smoothly() -> None:
    samples = sine(1.0, 16_000, amplitude=0.5)
    samples[8_000] = 1.98
    limited = in_parts(PeakLimiter(16_000), samples, [16_000])
    audible = np.abs(samples) > 0.1
    gain = limited[audible] / samples[audible]
    assert gain.min() == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.diff(gain)).max() < 0.02


# A full-scale sine of 997 Hz has -3.01 LUFS in one channel (BS.1770-4, note under table 1).
@pytest.mark.parametrize("rate", [16_000, 32_000, 40_000, 48_000])
@pytest.mark.parametrize("amplitude", [0.001, 0.05, 1.0])
def test_loudness_is_brought_to_the_target(rate: int, amplitude: float) -> None:
    normalised = normalise_loudness(sine(2.0, rate, 997.0, amplitude), rate)
    peak_db = 20 * math.log10(np.abs(normalised).max())
    assert peak_db == pytest.approx(-16.0 + 3.01, abs=0.15)


def test_another_target_can_be_given() -> None:
    samples = sine(2.0, 48_000, 997.0)
    quiet, loud = (normalise_loudness(samples, 48_000, lufs) for lufs in (-23.0, -16.0))
    np.testing.assert_allclose(quiet, loud * 10 ** (-7 / 20), atol=1e-5)


def test_loud_treble_is_measured_without_clipping() -> None:
    loud, quiet = sine(1.0, 48_000, 9_000.0, 1.0), sine(1.0, 48_000, 9_000.0, 0.01)
    np.testing.assert_allclose(
        normalise_loudness(loud, 48_000), normalise_loudness(quiet, 48_000), atol=1e-3
    )


@pytest.mark.parametrize("n_samples", [480, 4_800, 19_199])
def test_short_clips_are_brought_to_the_target(n_samples: int) -> None:
    normalised = normalise_loudness(sine(1.0, 48_000, 1_000.0, 0.1)[:n_samples], 48_000)
    peak_db = 20 * math.log10(np.abs(normalised).max())
    assert peak_db == pytest.approx(-13.0, abs=0.5)


def test_peaks_limit_the_loudness() -> None:
    samples = 0.001 * np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    samples[24_000] = 0.9
    assert np.abs(normalise_loudness(samples, 48_000)).max() == pytest.approx(0.99, abs=1e-6)


@pytest.mark.parametrize("level", [0.0, 1e-5])
@pytest.mark.parametrize("n_samples", [0, 1, 100, 48_000])
def test_silence_stays_silence(n_samples: int, level: float) -> None:
    samples = level * np.random.default_rng(0).standard_normal(n_samples).astype(np.float32)
    np.testing.assert_array_equal(normalise_loudness(samples, 48_000), samples)
