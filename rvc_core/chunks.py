"""Cutting long recordings at quiet points, and joining the converted pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise, repeat

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64]
Part = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000
HOP_LENGTH = 160  # samples of a 10 ms frame
STANDARD_GRID = 320  # samples of a content frame: cuts there lose nothing


@dataclass(frozen=True)
class Aim:
    """Where to cut, in seconds; official RVC's names in brackets."""

    length_s: int  # [x_center] of the chunk
    search_s: int  # [x_query] the cut may be this far off


@dataclass(frozen=True)
class ChunkTiming:
    """How long recordings are cut: `aims` are for the chunks in turn, the last one for the rest."""

    limit_s: int  # [x_max] shorter ones stay whole
    aims: tuple[Aim, ...]


OFFICIAL_TIMING = ChunkTiming(41, (Aim(38, 6),))  # official RVC's on CPU
# Chunks grow, so that the first is heard soon and the others lose little time on their context.
GROWING_TIMING = ChunkTiming(12, (Aim(6, 1), Aim(12, 3), Aim(24, 5)))
# These serve when the device runs out of memory.
SHORTER_TIMINGS = (ChunkTiming(20, (Aim(18, 4),)), ChunkTiming(9, (Aim(8, 2),)))


@dataclass(frozen=True)
class Chunk:
    """Samples `start` up to `stop` of the recording at 16 kHz, without context."""

    start: int
    stop: int


def split_at_quiet_points(
    samples: Samples, timing: ChunkTiming, grid: int = STANDARD_GRID, shortest: int = SAMPLE_RATE
) -> list[Chunk]:
    """Cut `samples` at 16 kHz at the quietest points near the aims of `timing`.

    Cuts lie on multiples of `grid` samples; a last chunk below `shortest` samples is not cut
    off. Quiet is the sum of magnitudes over 10 ms.
    """
    n_samples = len(samples)
    if n_samples + HOP_LENGTH <= timing.limit_s * SAMPLE_RATE:
        return [Chunk(0, n_samples)]
    energy = _energy(samples)
    cuts = []
    for place, reach in _places(timing, n_samples):
        window = energy[place - reach : place + reach]
        cut = (place - reach + int(np.argmin(window))) // grid * grid
        if n_samples - cut >= shortest:
            cuts.append(cut)
    return [Chunk(start, stop) for start, stop in pairwise([0, *cuts, n_samples])]


def _places(timing: ChunkTiming, n_samples: int) -> Iterator[tuple[int, int]]:
    """Where to cut and how far around to search, both in samples."""
    place = 0
    for aim in chain(timing.aims, repeat(timing.aims[-1])):
        place += aim.length_s * SAMPLE_RATE
        if place >= n_samples:
            return
        yield place, aim.search_s * SAMPLE_RATE


def _energy(samples: Samples) -> Samples:
    """Sum of magnitudes over the 160 samples around each sample, reflecting at the ends."""
    padded = np.abs(np.pad(samples, HOP_LENGTH // 2, mode="reflect"))
    total = np.concatenate([[0.0], np.cumsum(padded)])
    difference: Samples = total[HOP_LENGTH:] - total[:-HOP_LENGTH]
    return difference[: len(samples)]


class Joiner:
    """Joins pieces, each overlapping the one before by `overlap` samples, by cross-fading."""

    def __init__(self, overlap: int) -> None:
        self._overlap = overlap
        self._rise = (np.arange(overlap, dtype=np.float32) + 0.5) / max(1, overlap)
        self._end: Part | None = None  # of the piece before, to be mixed with the next

    def add(self, piece: Part, is_last: bool) -> Part:
        """The samples that the next piece will not change."""
        if self._end is not None:
            meeting = self._end * (1 - self._rise) + piece[: self._overlap] * self._rise
            piece = np.concatenate([meeting, piece[self._overlap :]], dtype=np.float32)
        kept = len(piece) - (0 if is_last else self._overlap)
        self._end = piece[kept:]
        return piece[:kept]
