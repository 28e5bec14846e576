"""Cut points and joints."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from rvc_core.chunks import (
    SAMPLE_RATE,
    SHORTER_TIMINGS,
    STANDARD_GRID,
    Aim,
    Chunk,
    ChunkTiming,
    Joiner,
    split_at_quiet_points,
)

SHORT = SHORTER_TIMINGS[1]  # 9 s at most, cut near 8 s, within 2 s


def join(pieces: list[npt.NDArray[np.float32]], overlap: int) -> npt.NDArray[np.float32]:
    joiner = Joiner(overlap)
    last = len(pieces) - 1
    return np.concatenate([joiner.add(p, is_last=n == last) for n, p in enumerate(pieces)])


def test_a_short_recording_stays_whole() -> None:
    samples = np.ones(9 * SAMPLE_RATE - 160)
    assert split_at_quiet_points(samples, SHORT) == [Chunk(0, len(samples))]


def test_cuts_fall_into_the_quiet() -> None:
    samples = np.ones(12 * SAMPLE_RATE)
    quiet = round(9.1 * SAMPLE_RATE)
    samples[quiet - 400 : quiet + 400] = 0
    first, second = split_at_quiet_points(samples, SHORT)
    assert first.stop == second.start
    assert abs(first.stop - quiet) <= 400


def test_quiet_means_small_and_not_balanced() -> None:
    """Summing signed samples would find a loud tone at its zero mean."""
    times = np.arange(12 * SAMPLE_RATE) / SAMPLE_RATE
    samples = np.sin(2 * np.pi * 1_000 * times)
    samples[round(8.5 * SAMPLE_RATE) :] = 0.1
    first, _ = split_at_quiet_points(samples, SHORT)
    assert first.stop >= round(8.5 * SAMPLE_RATE) - STANDARD_GRID


def test_chunks_have_their_own_aims_and_the_last_one_repeats() -> None:
    timing = ChunkTiming(5, (Aim(2, 1), Aim(4, 1), Aim(6, 1)))
    samples = np.ones(20 * SAMPLE_RATE)
    for quiet_s in (2.5, 5.5, 12.5, 17.5):
        samples[round(quiet_s * SAMPLE_RATE) :][:800] = 0
    chunks = split_at_quiet_points(samples, timing)
    seconds = [chunk.stop / SAMPLE_RATE for chunk in chunks]
    np.testing.assert_allclose(seconds, [2.5, 5.5, 12.5, 17.5, 20], atol=0.06)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40 * SAMPLE_RATE), st.integers(0, 5))
def test_chunks_cover_the_recording_once_on_the_grid(n_samples: int, seed: int) -> None:
    samples = np.random.default_rng(seed).standard_normal(n_samples)
    chunks = split_at_quiet_points(samples, SHORT)
    assert chunks[0].start == 0
    assert chunks[-1].stop == n_samples
    for before, after in zip(chunks, chunks[1:], strict=False):
        assert before.stop == after.start
        assert after.start % STANDARD_GRID == 0
    if len(chunks) > 1:
        # 8 s, 2 s more at either end, and a rest of under 1 s that is not cut off
        assert all(c.stop - c.start <= 13 * SAMPLE_RATE for c in chunks)
        assert min(c.stop - c.start for c in chunks) >= SAMPLE_RATE


@given(st.lists(st.integers(10, 30), min_size=1, max_size=5), st.integers(0, 10))
def test_joining_pieces_of_one_signal_gives_the_signal(lengths: list[int], overlap: int) -> None:
    signal = np.random.default_rng(0).standard_normal(200).astype(np.float32)
    pieces, start = [], 0
    for length in lengths:
        pieces.append(signal[start : start + length])
        start += length - overlap
    np.testing.assert_allclose(join(pieces, overlap), signal[: start + overlap], atol=1e-6)


def test_joining_leaves_the_pieces_alone() -> None:
    pieces: list[npt.NDArray[np.float32]] = [np.ones(4, np.float32), np.zeros(4, np.float32)]
    np.testing.assert_allclose(join(pieces, 2), [1, 1, 0.75, 0.25, 0, 0])
    assert pieces[0].all()
