"""F0 by SwiftF0: 135 kB of weights, the quickest network; needs the package swift-f0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvc_core.f0.frames import HOP_LENGTH, SAMPLE_RATE, require
from rvc_core.pitch import F0_MAX_HZ, F0_MIN_HZ, resample_f0

CONFIDENCE_THRESHOLD = 0.5  # what the package calibrates its confidence for
_OWN_HOP_LENGTH = 256  # samples: 16 ms


class Swift:
    """The network in ONNX Runtime, on the CPU; safe to use from several threads at once."""

    name = "swift"
    extra_frames = 0

    def __init__(self, detector: Any, nbytes: int) -> None:
        self._detector = detector
        self._nbytes = nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        return self._nbytes

    def to(self, device: str) -> None:
        """Stay on the CPU: there is nothing to gain elsewhere."""

    def estimate(self, samples: NDArray[np.floating], n_frames: int) -> NDArray[np.float64]:
        """F0 in Hz of 16 kHz `samples`, shape (n_frames,), 0 = unvoiced."""
        found = self._detector.detect(
            samples.astype(np.float32), SAMPLE_RATE, fmin=F0_MIN_HZ, fmax=F0_MAX_HZ
        )
        own = np.where(found.confidence >= CONFIDENCE_THRESHOLD, found.pitch_hz, 0.0)
        return resample_f0(own, np.arange(n_frames) * (HOP_LENGTH / _OWN_HOP_LENGTH))


def load_swift() -> Swift:
    """Load SwiftF0; raise `MissingPackage` without swift-f0."""
    package = require("swift_f0", "swift-f0", "swift")
    weights = Path(package.__file__).parent / "model.onnx"
    # One thread that sleeps between calls: the server has other requests for the other cores.
    return Swift(package.SwiftF0(threads=1, spin=False), weights.stat().st_size)
