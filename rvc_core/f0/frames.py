"""What the estimators share: the 10 ms grid, spectra on it, and their optional packages."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rvc_core.errors import MissingPackage

SAMPLE_RATE = 16_000
HOP_LENGTH = 160  # samples: 10 ms
FFT_LENGTH = 1024
MIN_SAMPLES = FFT_LENGTH  # shorter clips cannot be reflected by half a window

# Pitch bins of CREPE, which RMVPE took over.
N_BINS = 360
CENTS_PER_BIN = 20
FIRST_CENTS = 1997.3794084376191  # of bin 0, above 10 Hz
_REACH = 4  # bins on either side of a peak that carry its pitch


def require(module: str, package: str, extra: str | None) -> Any:
    """Import an optional module; raise `MissingPackage` that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise _missing(package, extra) from None


def package_folder(module: str, package: str, extra: str | None) -> Path:
    """The folder of a package, which is not imported; raise `MissingPackage` as `require`."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise _missing(package, extra)
    return Path(next(iter(spec.submodule_search_locations)))


def _missing(package: str, extra: str | None) -> MissingPackage:
    how = f'pip install ".[{extra}]"' if extra else f"pip install {package}"
    return MissingPackage(f"This F0 method needs the package {package}: {how}.", value=package)


def to_tensor(samples: NDArray[np.floating], device: torch.device | str) -> Tensor:
    """Samples as a float32 tensor (samples,), with zeros behind clips below `MIN_SAMPLES`."""
    # torch takes no arrays that run backwards, and warns of read-only ones: so this copies.
    forwards = np.ascontiguousarray(samples, dtype=np.float32)
    tensor = torch.tensor(forwards, device=device)
    return functional.pad(tensor, (0, max(0, MIN_SAMPLES - len(tensor))))


def power_spectra(samples: Tensor, window: Tensor, padding: int) -> Tensor:
    """Squared magnitudes (513, frames) every 10 ms of samples reflected by `padding`."""
    padded = functional.pad(samples[None], (padding, padding), mode="reflect")
    spectra = torch.stft(
        padded[0], FFT_LENGTH, HOP_LENGTH, window=window, center=False, return_complex=True
    )
    return spectra.real.square() + spectra.imag.square()


def peak_hz(salience: NDArray[np.float32], peaks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Pitch in Hz at bins `peaks` (frames,), as the mean of 9 bins weighted by their salience.

    `salience` is (frames, 360); bins beyond its ends weigh nothing. The order of operations and
    types is that of Official RVC, so that results are equal to the last bit.
    """
    padded = np.pad(salience, ((0, 0), (_REACH, _REACH)))  # (frames, 368)
    cents = np.pad(FIRST_CENTS + CENTS_PER_BIN * np.arange(N_BINS), _REACH)
    around = peaks[:, None] + np.arange(2 * _REACH + 1)  # (frames, 9)
    weights = np.take_along_axis(padded, around, axis=1)
    total = np.maximum(weights.sum(axis=1), np.finfo(np.float32).tiny)
    mean_cents = (weights * cents[around]).sum(axis=1) / total
    return np.asarray(10 * 2 ** (mean_cents / 1200), dtype=np.float64)


def fit_frames(f0: NDArray[np.floating], n_frames: int) -> NDArray[np.float64]:
    """The first `n_frames` of `f0`; a curve that is too short holds its last value."""
    fitted = np.asarray(f0[:n_frames], dtype=np.float64)
    if 0 < len(fitted) < n_frames:
        return np.pad(fitted, (0, n_frames - len(fitted)), mode="edge")
    return fitted
