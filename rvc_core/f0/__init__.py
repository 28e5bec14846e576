"""F0 estimators: one protocol, one table of methods, and estimation of long audio in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rvc_core.errors import InvalidOption
from rvc_core.token import Token

_HOP_LENGTH = 160  # samples at 16 kHz: 10 ms
_FRAMES_PER_SECOND = 100


class F0Estimator(Protocol):
    """Finds the pitch of speech and singing, 50 to 1100 Hz, every 10 ms."""

    @property
    def name(self) -> str:
        """The method's name in `F0_METHODS`."""

    @property
    def extra_frames(self) -> int:
        """Frames that the method finds beyond `len(samples) // 160`.

        Official RVC fills unvoiced frames before it drops these, so they shape what it fills.
        """

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""

    def estimate(self, samples: NDArray[np.floating], n_frames: int) -> NDArray[np.float64]:
        """F0 in Hz of mono 16 kHz `samples`, shape (n_frames,), 0 = unvoiced."""

    def to(self, device: str) -> None:
        """Move the weights to `device`; methods that have only the CPU stay there."""


@dataclass(frozen=True)
class F0Method:
    """How to get an estimator.

    `module` is what must be installed for it, `extra` the optional part that installs it.
    """

    load: Callable[[Path | None, str], F0Estimator]
    needs_weights: bool
    module: str | None
    extra: str | None
    help: str


def load_f0_estimator(method: str, weights: Path | None = None, device: str = "cpu") -> F0Estimator:
    """Load an estimator by its name in `F0_METHODS`; `weights` is the file that rmvpe needs.

    Raise `InvalidOption`, `MissingWeights`, `InvalidWeights` or `MissingPackage`.
    """
    if method not in F0_METHODS:
        raise InvalidOption(
            f"f0_method is {method!r}; allowed is one of {', '.join(F0_METHODS)}.",
            param="f0_method",
            value=method,
        )
    return F0_METHODS[method].load(weights, device)


def estimate_in_blocks(
    estimator: F0Estimator,
    samples: NDArray[np.floating],
    n_frames: int,
    block_s: float = 60.0,
    overlap_s: float = 2.0,
    token: Token | None = None,
) -> NDArray[np.float64]:
    """As `estimator.estimate`, but for audio of any length: no call sees more than a block.

    A block hears `overlap_s` more on either side, which is dropped; audio that fits into one
    block with that is estimated at once. `token` is checked after each block.
    """
    pieces = []
    for piece in estimate_blocks(estimator, samples, n_frames, (block_s,), overlap_s):
        pieces.append(piece)
        if token is not None:
            token.check()
    return np.concatenate(pieces)


def estimate_blocks(
    estimator: F0Estimator,
    samples: NDArray[np.floating],
    n_frames: int,
    blocks_s: Sequence[float],
    overlap_s: float = 2.0,
) -> Iterator[NDArray[np.float64]]:
    """As `estimate_in_blocks`, each block when it is asked for; the last length repeats."""
    overlap = round(overlap_s * _FRAMES_PER_SECOND)
    if len(samples) <= (blocks_s[0] * _FRAMES_PER_SECOND + 2 * overlap) * _HOP_LENGTH:
        yield estimator.estimate(samples, n_frames)
        return
    last = 0
    for block_s in chain(blocks_s, repeat(blocks_s[-1])):
        if last == n_frames:
            return
        first, last = last, min(last + round(block_s * _FRAMES_PER_SECOND), n_frames)
        # What the estimator hears: whole frames, or to the end of the audio.
        start, end = max(0, first - overlap), min(last + overlap, n_frames)
        part = samples[start * _HOP_LENGTH : end * _HOP_LENGTH if end < n_frames else None]
        yield estimator.estimate(part, end - start)[first - start : last - start]


def _load_rmvpe(weights: Path | None, device: str) -> F0Estimator:
    from rvc_core.f0.rmvpe import load_rmvpe

    return load_rmvpe(weights, device)


def _load_fcpe(weights: Path | None, device: str) -> F0Estimator:
    from rvc_core.f0.fcpe import load_fcpe

    return load_fcpe(device)


def _load_crepe(weights: Path | None, device: str) -> F0Estimator:
    from rvc_core.f0.crepe import load_crepe

    return load_crepe("crepe", device)


def _load_crepe_tiny(weights: Path | None, device: str) -> F0Estimator:
    from rvc_core.f0.crepe import load_crepe

    return load_crepe("crepe-tiny", device)


def _load_swift(weights: Path | None, device: str) -> F0Estimator:
    from rvc_core.f0.swift import load_swift

    return load_swift()


def _load_praat(weights: Path | None, device: str) -> F0Estimator:
    from rvc_core.f0.praat import load_praat

    return load_praat()


def _load_pyin(weights: Path | None, device: str) -> F0Estimator:
    from rvc_core.f0.pyin import Pyin

    return Pyin()


F0_METHODS: Mapping[str, F0Method] = MappingProxyType(
    {
        "rmvpe": F0Method(
            _load_rmvpe,
            True,
            None,
            None,
            "Most robust, in noise too; the choice of most RVC users.",
        ),
        "fcpe": F0Method(
            _load_fcpe, False, "torchfcpe", None, "Nearly as good at a third of the time."
        ),
        "crepe": F0Method(
            _load_crepe,
            False,
            "torchcrepe",
            "crepe",
            "Accurate on clean singing; by far the slowest.",
        ),
        "crepe-tiny": F0Method(
            _load_crepe_tiny,
            False,
            "torchcrepe",
            "crepe",
            "A small crepe: quicker, less steady.",
        ),
        "swift": F0Method(_load_swift, False, "swift_f0", "swift", "Very quick; for clean speech."),
        "pm": F0Method(
            _load_praat,
            False,
            "parselmouth",
            "praat",
            "Praat's autocorrelation: very quick, no network.",
        ),
        "pyin": F0Method(
            _load_pyin,
            False,
            "librosa",
            None,
            "Probabilistic YIN: for clean recordings; no network, not quick.",
        ),
    }
)
