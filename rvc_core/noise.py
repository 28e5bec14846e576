"""Noise that depends on the seed and the place in the recording only.

Pieces of one recording overlap; where they do, they must hear the same noise, whatever the cuts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BLOCK_FRAMES = 256
_LATENT, _SOURCE = 0, 1


@dataclass(frozen=True)
class NoiseField:
    """Standard normal noise over the frames of one recording."""

    seed: int

    def latent(self, start: int, stop: int, channels: int) -> Tensor:
        """Noise (channels, frames) of frames `start` up to `stop`."""
        return self._frames(_LATENT, start, stop, channels).T.contiguous()

    def source(self, start: int, stop: int, hop_length: int) -> Tensor:
        """Noise (frames * hop_length,) of the samples of frames `start` up to `stop`."""
        return self._frames(_SOURCE, start, stop, hop_length).flatten()

    def _frames(self, kind: int, start: int, stop: int, width: int) -> Tensor:
        first, last = start // BLOCK_FRAMES, -(-stop // BLOCK_FRAMES)
        blocks = [
            np.random.default_rng([self.seed, kind, block]).standard_normal(
                (BLOCK_FRAMES, width), dtype=np.float32
            )
            for block in range(first, last)
        ]
        offset = first * BLOCK_FRAMES
        return torch.from_numpy(np.concatenate(blocks)[start - offset : stop - offset])
