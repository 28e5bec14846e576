"""F0 by probabilistic YIN (Mauch 2014) of librosa: no network, no weights, nothing optional."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rvc_core.f0.frames import HOP_LENGTH, SAMPLE_RATE, fit_frames
from rvc_core.pitch import F0_MAX_HZ, F0_MIN_HZ
from rvc_core.token import check_current

_FRAME_LENGTH = 672  # samples: just over two periods of the lowest pitch; longer blurs speech
_SEMITONES_PER_BIN = 0.2  # half of this takes four times as long
# librosa lets no other thread run while it searches for the best curve, so not all at once:
_PIECE, _OVERLAP = 200, 50  # frames


class Pyin:
    """librosa's pYIN, on the CPU; safe to use from several threads at once."""

    name = "pyin"
    extra_frames = 1

    @property
    def nbytes(self) -> int:
        """Bytes of the weights: there are none."""
        return 0

    def to(self, device: str) -> None:
        """Stay on the CPU."""

    def estimate(self, samples: NDArray[np.floating], n_frames: int) -> NDArray[np.float64]:
        """F0 in Hz of 16 kHz `samples`, shape (n_frames,), 0 = unvoiced."""
        pieces = []
        for first in range(0, len(samples) // HOP_LENGTH + 1, _PIECE):
            check_current()
            start, end = max(0, first - _OVERLAP), first + _PIECE + _OVERLAP
            f0 = _estimate_piece(samples[start * HOP_LENGTH : end * HOP_LENGTH])
            pieces.append(f0[first - start :][:_PIECE])
        return fit_frames(np.concatenate(pieces), n_frames)


def _estimate_piece(samples: NDArray[np.floating]) -> NDArray[np.float64]:
    """F0 in Hz, one frame more than there are whole hops."""
    from librosa import pyin  # takes a second

    f0, _, _ = pyin(
        np.ascontiguousarray(samples, dtype=np.float32),
        fmin=F0_MIN_HZ,
        fmax=F0_MAX_HZ,
        sr=SAMPLE_RATE,
        frame_length=_FRAME_LENGTH,
        hop_length=HOP_LENGTH,
        resolution=_SEMITONES_PER_BIN,
        fill_na=0.0,
    )
    return np.asarray(f0, dtype=np.float64)
