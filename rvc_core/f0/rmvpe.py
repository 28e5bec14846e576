"""F0 by RMVPE, the default of RVC: robust against noise and accompaniment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rvc_core.errors import InvalidCheckpoint, InvalidWeights, MissingWeights
from rvc_core.f0.frames import (
    FFT_LENGTH,
    SAMPLE_RATE,
    fit_frames,
    peak_hz,
    power_spectra,
    to_tensor,
)
from rvc_core.mel import mel_bank
from rvc_core.network_model import NetworkModel
from rvc_core.nn.rmvpe import FRAMES_MULTIPLE, N_MELS, RMVPENetwork
from rvc_core.weights import load_strictly, read_torch_file, without_weights

VOICING_THRESHOLD = 0.03
_LOW_HZ, _HIGH_HZ = 30.0, 8000.0
_MEL_FLOOR = 1e-5


class RMVPE(NetworkModel[RMVPENetwork]):
    """The network with its front end; safe to use from several threads at once."""

    name = "rmvpe"
    extra_frames = 1
    TABLES = ("_mel_bank", "_window")

    def __init__(self, network: RMVPENetwork, device: str = "cpu") -> None:
        bank = mel_bank("htk", N_MELS, FFT_LENGTH, SAMPLE_RATE, _LOW_HZ, _HIGH_HZ)
        self._mel_bank = torch.from_numpy(bank)  # (128, 513)
        self._window = torch.hann_window(FFT_LENGTH)
        super().__init__(network, device)

    def estimate(self, samples: NDArray[np.floating], n_frames: int) -> NDArray[np.float64]:
        """F0 in Hz of 16 kHz `samples`, shape (n_frames,), 0 = unvoiced."""
        if not samples.any():  # nothing there; spares the network's guess
            return np.zeros(n_frames)
        return fit_frames(decode_salience(self._salience(samples)), n_frames)

    @torch.inference_mode()
    def _salience(self, samples: NDArray[np.floating]) -> NDArray[np.float32]:
        """Salience (frames, 360)."""
        log_mel = self._log_mel(to_tensor(samples, self._window.device))
        n_frames = log_mel.shape[1]
        # Zeros, not silence, behind the last frame: so did Official when voices were trained.
        padded = functional.pad(log_mel, (0, -n_frames % FRAMES_MULTIPLE))
        salience = self._network(padded[None])[0, :n_frames]
        return np.asarray(salience.cpu().numpy(), dtype=np.float32)

    def _log_mel(self, samples: Tensor) -> Tensor:
        """Log-mel picture (128, frames)."""
        magnitudes = power_spectra(samples, self._window, FFT_LENGTH // 2).sqrt()
        return torch.log(torch.clamp(self._mel_bank @ magnitudes, min=_MEL_FLOOR))


def load_rmvpe(weights: Path | None, device: str = "cpu") -> RMVPE:
    """Load `rmvpe.pt`; raise `MissingWeights` or `InvalidWeights`."""
    if weights is None or not weights.is_file():
        where = f" at {weights}" if weights is not None else ""
        raise MissingWeights(
            f"The weights of rmvpe are not installed{where}; "
            "`python scripts/get_models.py` fetches them.",
            param="f0_method",
            value=str(weights),
        )
    with without_weights():
        network = RMVPENetwork()
    load_strictly(network, _read_state(weights), weights.name, InvalidWeights)
    return RMVPE(network, device)


def _read_state(weights: Path) -> dict[str, Tensor]:
    """The tensors of the file, which holds float16, in float32."""
    try:
        state = read_torch_file(weights)
    except InvalidCheckpoint as error:
        raise InvalidWeights(error.message, value=str(weights)) from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InvalidWeights(f"{weights.name} holds no RMVPE weights.", value=str(weights))
    # The counters of batch norm, which only training uses, are integers of either shape.
    return {k: v.float() if v.is_floating_point() else v.squeeze() for k, v in state.items()}


def decode_salience(salience: NDArray[np.float32]) -> NDArray[np.float64]:
    """F0 in Hz from salience (frames, 360); frames whose peak is low are unvoiced."""
    hz = peak_hz(salience, salience.argmax(axis=1))
    return np.where(salience.max(axis=1) > VOICING_THRESHOLD, hz, 0.0)
