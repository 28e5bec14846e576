"""Another sample rate, for samples that come at once or part by part."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from rvc_core.token import check_current

Samples = NDArray[np.float32]

BLOCK = 1 << 20  # samples between two looks at the token


class Resampler:
    """Resamples by soxr's HQ recipe to ceil(samples * to_rate / from_rate) samples in all.

    However the samples are parted, the result is the same.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._rates = from_rate, to_rate
        self._n_in = self._n_out = 0
        self._stream = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(
                from_rate, to_rate, 1, dtype="float32", quality="soxr_hq"
            )

    def push(self, samples: Samples) -> Samples:
        """The samples that are ready, given the next ones."""
        return self._feed(samples, is_last=False)

    def finish(self) -> Samples:
        """The samples that are left."""
        from_rate, to_rate = self._rates
        before = self._n_out
        left = self._feed(np.zeros(0, np.float32), is_last=True)
        wanted = -(-self._n_in * to_rate // from_rate) - before
        return np.pad(left[:wanted], (0, max(0, wanted - len(left))))

    def _feed(self, samples: Samples, is_last: bool) -> Samples:
        self._n_in += len(samples)
        if self._stream is not None:
            samples = self._stream.resample_chunk(samples, last=is_last)
        self._n_out += len(samples)
        return samples


def resample(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    """Resample by soxr's HQ recipe to ceil(len(samples) * to_rate / from_rate) samples."""
    samples = samples.astype(np.float32)
    if from_rate == to_rate or len(samples) == 0:
        return samples
    resampler = Resampler(from_rate, to_rate)
    parts = []
    for start in range(0, len(samples), BLOCK):
        check_current()
        parts.append(resampler.push(samples[start : start + BLOCK]))
    return np.concatenate([*parts, resampler.finish()])
