"""F0 by FCPE: a third of RMVPE's time; its weights are in the package torchfcpe.

Only the file is the package's: importing it takes a second, for librosa and much else that
finding a pitch does not need; its front end prints when a sample exceeds 1.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rvc_core.errors import InvalidWeights
from rvc_core.f0.frames import (
    FFT_LENGTH,
    HOP_LENGTH,
    SAMPLE_RATE,
    fit_frames,
    package_folder,
    power_spectra,
    to_tensor,
)
from rvc_core.mel import mel_bank
from rvc_core.network_model import NetworkModel
from rvc_core.nn.fcpe import N_MELS, FCPENetwork
from rvc_core.weights import (
    fold_weight_norm,
    load_strictly,
    read_torch_file,
    without_weights,
)

VOICING_THRESHOLD = 0.006
_WEIGHTS = "fcpe_c_v001.pt"
_LOW_HZ, _HIGH_HZ = 0.0, 8000.0
_MEL_FLOOR = 1e-5
_POWER_OFFSET = 1e-9
_CONFIGURATION: dict[str, dict[str, Any]] = {  # what the network and its front end are written for
    "mel": {
        "sr": SAMPLE_RATE,
        "num_mels": N_MELS,
        "n_fft": FFT_LENGTH,
        "win_size": FFT_LENGTH,
        "hop_size": HOP_LENGTH,
        "fmin": _LOW_HZ,
        "fmax": _HIGH_HZ,
    },
    "model": {"type": "CFNaiveMelPE", "conv_only": True},
}
_TRAINING_ONLY = "gaussian_blurred_cent_mask"
_ATTENTION_NORM = re.compile(r"net\.encoder_layers\.\d+\.norm\.")  # of attention left out


class FCPE(NetworkModel[FCPENetwork]):
    """The network with its front end; safe to use from several threads at once."""

    name = "fcpe"
    extra_frames = 1
    TABLES = ("_mel_bank", "_window")

    def __init__(self, network: FCPENetwork, device: str = "cpu") -> None:
        bank = mel_bank("slaney", N_MELS, FFT_LENGTH, SAMPLE_RATE, _LOW_HZ, _HIGH_HZ)
        self._mel_bank = torch.from_numpy(bank)  # (128, 513)
        self._window = torch.hann_window(FFT_LENGTH)
        super().__init__(network, device)

    @torch.inference_mode()
    def estimate(self, samples: NDArray[np.floating], n_frames: int) -> NDArray[np.float64]:
        """F0 in Hz of 16 kHz `samples`, shape (n_frames,), 0 = unvoiced."""
        log_mel = self._log_mel(to_tensor(samples, self._window.device))
        f0 = self._network.decode(self._network(log_mel[None]), VOICING_THRESHOLD)[0]
        return fit_frames(f0.cpu().numpy(), n_frames)

    def _log_mel(self, samples: Tensor) -> Tensor:
        """Log-mel picture (frames, 128)."""
        power = power_spectra(samples, self._window, (FFT_LENGTH - HOP_LENGTH) // 2)
        mel = self._mel_bank @ (power + _POWER_OFFSET).sqrt()
        log_mel = torch.log(torch.clamp(mel, min=_MEL_FLOOR))
        # The frame that this padding leaves out at the end is a copy of the one before.
        return functional.pad(log_mel, (0, 1), mode="replicate").T


def load_fcpe(device: str = "cpu") -> FCPE:
    """Load FCPE from the package torchfcpe; raise `MissingPackage` or `InvalidWeights`."""
    path = package_folder("torchfcpe", "torchfcpe", None) / "assets" / _WEIGHTS
    return FCPE(read_fcpe_network(path), device)


def read_fcpe_network(path: Path) -> FCPENetwork:
    """The network of a file; raise `InvalidWeights` if it is of another configuration."""
    content = read_torch_file(path)
    _check_configuration(content["config_dict"], path.name)
    state = {
        key: tensor
        for key, tensor in content["model"].items()
        if key != _TRAINING_ONLY and not _ATTENTION_NORM.match(key)
    }
    with without_weights():
        network = FCPENetwork()
    load_strictly(network, fold_weight_norm(state), path.name, InvalidWeights)
    return network


def _check_configuration(stated: dict[str, Any], name: str) -> None:
    for part, settings in _CONFIGURATION.items():
        for key, known in settings.items():
            value = stated[part].get(key)
            if value != known:
                raise InvalidWeights(
                    f"{name} states {part}.{key} = {value!r}; only {known!r} is known here.",
                    value=value,
                )
