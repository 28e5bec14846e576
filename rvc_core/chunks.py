"""Cutting long recordings at quiet points, and joining the converted pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64]

SAMPLE_RATE = 16_000
HOP_LENGTH = 160  # samples of a 10 ms frame
STANDARD_GRID = 320  # samples of a content frame: cuts there lose nothing


@dataclass(frozen=True)
class ChunkTiming:
    """How long recordings are cut, in seconds; official RVC's names in brackets."""

    limit_s: int  # [x_max] shorter ones stay whole
    chunk_s: int  # [x_center] aimed length
    search_s: int  # [x_query] a cut may be this far from its aim


# The first is official RVC's on CPU; the others serve when the device runs out of memory.
TIMINGS = (ChunkTiming(41, 38, 6), ChunkTiming(20, 18, 4), ChunkTiming(9, 8, 2))


@dataclass(frozen=True)
class Chunk:
    """Samples `start` up to `stop` of the recording at 16 kHz, without context."""

    start: int
    stop: int


def split_at_quiet_points(
    samples: Samples, timing: ChunkTiming, grid: int = STANDARD_GRID, shortest: int = SAMPLE_RATE
) -> list[Chunk]:
    """Cut `samples` at 16 kHz at the quietest points near multiples of `timing.chunk_s`.

    Cuts lie on multiples of `grid` samples; a last chunk below `shortest` samples is not cut
    off. Quiet is the sum of magnitudes over 10 ms.
    """
    n_samples = len(samples)
    if n_samples + HOP_LENGTH <= timing.limit_s * SAMPLE_RATE:
        return [Chunk(0, n_samples)]
    step, reach = timing.chunk_s * SAMPLE_RATE, timing.search_s * SAMPLE_RATE
    energy = _energy(samples)
    cuts = []
    for aim in range(step, n_samples, step):
        window = energy[aim - reach : aim + reach]
        cut = (aim - reach + int(np.argmin(window))) // grid * grid
        if n_samples - cut >= shortest:
            cuts.append(cut)
    return [Chunk(start, stop) for start, stop in pairwise([0, *cuts, n_samples])]


def _energy(samples: Samples) -> Samples:
    """Sum of magnitudes over the 160 samples around each sample, reflecting at the ends."""
    padded = np.abs(np.pad(samples, HOP_LENGTH // 2, mode="reflect"))
    total = np.concatenate([[0.0], np.cumsum(padded)])
    difference: Samples = total[HOP_LENGTH:] - total[:-HOP_LENGTH]
    return difference[: len(samples)]


def crossfade(pieces: Sequence[npt.NDArray[np.float32]], overlap: int) -> npt.NDArray[np.float32]:
    """Join pieces, each overlapping the one before by `overlap` samples."""
    rise = (np.arange(overlap, dtype=np.float32) + 0.5) / max(1, overlap)
    joined = pieces[0].copy()
    for piece in pieces[1:]:
        meeting = len(joined) - overlap
        mixed = joined[meeting:] * (1 - rise) + piece[:overlap] * rise
        joined = np.concatenate([joined[:meeting], mixed, piece[overlap:]], dtype=np.float32)
    return np.asarray(joined, np.float32)
