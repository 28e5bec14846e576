"""F0 by FCPE: a third of RMVPE's time; its weights are in the package torchfcpe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rvc_core.f0.frames import (
    FFT_LENGTH,
    HOP_LENGTH,
    SAMPLE_RATE,
    fit_frames,
    power_spectra,
    require,
    to_tensor,
)
from rvc_core.weights import module_bytes, read_torch_file

VOICING_THRESHOLD = 0.006
_WEIGHTS = "fcpe_c_v001.pt"
_MEL_FLOOR = 1e-5
_POWER_OFFSET = 1e-9


class FCPE:
    """The network with its front end; safe to use from several threads at once.

    The front end is our own: the package's prints when a sample exceeds 1 and keeps its window
    in a dictionary that threads would share.
    """

    name = "fcpe"
    extra_frames = 1

    def __init__(self, network: nn.Module, mel_bank: Tensor, device: str = "cpu") -> None:
        self._network = network.eval().requires_grad_(False)
        self._mel_bank = mel_bank  # (128, 513)
        self._window = torch.hann_window(FFT_LENGTH)
        self.to(device)

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        return module_bytes(self._network)

    def to(self, device: str) -> None:
        """Move the weights to `device`."""
        self._network.to(device)
        self._mel_bank = self._mel_bank.to(device)
        self._window = self._window.to(device)

    @torch.inference_mode()
    def estimate(self, samples: NDArray[np.floating], n_frames: int) -> NDArray[np.float64]:
        """F0 in Hz of 16 kHz `samples`, shape (n_frames,), 0 = unvoiced."""
        log_mel = self._log_mel(to_tensor(samples, self._window.device))
        infer: Any = self._network.infer
        hz = infer(log_mel[None], decoder="local_argmax", threshold=VOICING_THRESHOLD)
        # 0/0 where the network is sure of no bin at all.
        return fit_frames(np.nan_to_num(hz[0, :, 0].cpu().numpy(), nan=0.0), n_frames)

    def _log_mel(self, samples: Tensor) -> Tensor:
        """Log-mel picture (frames, 128)."""
        power = power_spectra(samples, self._window, (FFT_LENGTH - HOP_LENGTH) // 2)
        mel = self._mel_bank @ (power + _POWER_OFFSET).sqrt()
        log_mel = torch.log(torch.clamp(mel, min=_MEL_FLOOR))
        # The frame that this padding leaves out at the end is a copy of the one before.
        return functional.pad(log_mel, (0, 1), mode="replicate").T


def load_fcpe(device: str = "cpu") -> FCPE:
    """Load FCPE from the package torchfcpe; raise `MissingPackage` without it."""
    package = require("torchfcpe", "torchfcpe", None)
    # Not through the package's own loader, which prints.
    content = read_torch_file(Path(package.__file__).parent / "assets" / _WEIGHTS)
    mel, model = content["config_dict"]["mel"], content["config_dict"]["model"]
    network = require("torchfcpe.models", "torchfcpe", None).CFNaiveMelPE(
        input_channels=mel["num_mels"],
        **{key: model[key] for key in _MODEL_KEYS},
    )
    network.load_state_dict(content["model"])
    return FCPE(network, _mel_bank(mel), device)


_MODEL_KEYS = (
    "out_dims",
    "hidden_dims",
    "n_layers",
    "n_heads",
    "f0_max",
    "f0_min",
    "use_fa_norm",
    "conv_only",
)


def _mel_bank(config: dict[str, Any]) -> Tensor:
    from librosa.filters import mel  # torchfcpe has imported it

    low, high = config["fmin"], config["fmax"]
    bank = mel(sr=SAMPLE_RATE, n_fft=FFT_LENGTH, n_mels=config["num_mels"], fmin=low, fmax=high)
    return torch.from_numpy(bank)
