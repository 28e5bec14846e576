"""The encoder of Whisper tiny.en as a content encoder: 16 kHz audio to 768 features at 50 Hz.

A feature is the layer-normalised output of block 2 beside that of the whole encoder (block 4).
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from rvc_core.errors import ContentEncoderMismatch, InvalidWeights
from rvc_core.network_model import NetworkModel
from rvc_core.token import check_current
from rvc_core.weights import load_strictly, read_safetensors

CONTENT_NAME = "whisper-tiny.en:2+4"
CONTENT_DIM = 768

_WIDTH = 384
_N_HEADS = 6
_N_BLOCKS = 4
_TAP = 2  # features are taken after this block too
_N_MELS = 80
_MAX_FRAMES = 1500  # rows of the position table: 30 s
_FRAME = 320  # samples: 20 ms
_MEL_HOP = 160
_N_FFT = 400
_TAIL_FRAMES = 10  # silence behind the recording: without it the last words change
_CONTEXT_FRAMES = 45  # what a window sees before and behind the frames that are kept of it
_KEPT_FRAMES = _MAX_FRAMES - 2 * _CONTEXT_FRAMES - _TAIL_FRAMES
_LEVEL = 0.05  # RMS that the voices of this encoder were trained at
_QUIET = 1e-4  # keeps silence silent


class _Block(nn.Module):
    """A transformer block, normalising before each half."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(_WIDTH)
        self.query_key_value = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.attention_out = nn.Linear(_WIDTH, _WIDTH)
        self.mlp_norm = nn.LayerNorm(_WIDTH)
        self.mlp_in = nn.Linear(_WIDTH, 4 * _WIDTH)
        self.mlp_out = nn.Linear(4 * _WIDTH, _WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, frames, width) to the same shape."""
        x = x + self.attention_out(self._attend(self.attention_norm(x)))
        grown: torch.Tensor = self.mlp_out(functional.gelu(self.mlp_in(self.mlp_norm(x))))
        return x + grown

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        batch, n_frames, _ = x.shape
        heads = self.query_key_value(x).view(batch, n_frames, 3, _N_HEADS, _WIDTH // _N_HEADS)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (batch, heads, frames, 64)
        attended = functional.scaled_dot_product_attention(query, key, value)
        return attended.transpose(1, 2).reshape(batch, n_frames, _WIDTH)


class _Network(nn.Module):
    """Log-mel spectrogram to the two layers that make a feature; names are the file's keys."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(_N_MELS, _WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(_WIDTH, _WIDTH, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(_Block() for _ in range(_N_BLOCKS))
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(
        self, mel: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Map (batch, 80, 2 * frames) to block 2's and the last output, (batch, frames, width)."""
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + positions[: x.shape[1]]  # (batch, frames, width)
        tapped = x
        for number, block in enumerate(self.blocks, start=1):
            check_current()
            x = block(x)
            if number == _TAP:
                tapped = x
        return tapped, self.norm(x)


class WhisperEncoder(NetworkModel[_Network]):
    """A content encoder; any number of threads may call `encode` at once."""

    name = CONTENT_NAME
    content_dim = CONTENT_DIM
    TABLES = ("_positions", "_filters", "_window")

    def __init__(self, network: _Network, device: str = "cpu") -> None:
        self._positions = _sinusoids(_MAX_FRAMES)
        self._filters = _mel_filters()
        self._window = torch.hann_window(_N_FFT)
        super().__init__(network, device)

    @torch.inference_mode()
    def encode(self, samples: torch.Tensor, content_dim: int) -> torch.Tensor:
        """Return features (frames, 768), one for each 20 ms begun, of (n,) samples at 16 kHz."""
        if content_dim != CONTENT_DIM:
            raise ContentEncoderMismatch(
                f"The voice takes content of width {content_dim}; {self.name} gives {CONTENT_DIM}.",
                param="content_dim",
                value=content_dim,
            )
        n_frames = -(-samples.shape[0] // _FRAME)
        mel = self._log_mel(samples.to(self._positions.device, torch.float32), n_frames)
        windows = [self._encode_window(mel, *span) for span in _split_evenly(n_frames)]
        return torch.cat(windows)

    def _log_mel(self, samples: torch.Tensor, n_frames: int) -> torch.Tensor:
        """Spectrogram (80, 2 * (n_frames + tail)) of the whole recording at the trained level."""
        level = samples.square().mean().sqrt() + _QUIET
        tail = (n_frames + _TAIL_FRAMES) * _FRAME - samples.shape[0]
        padded = functional.pad(samples / level * _LEVEL, (0, tail))
        spectrum = torch.stft(padded, _N_FFT, _MEL_HOP, window=self._window, return_complex=True)
        power = spectrum[:, :-1].abs().square()  # Whisper leaves the last column out
        mel = (self._filters @ power).clamp(min=1e-10).log10()
        return (mel.clamp(min=mel.max() - 8.0) + 4.0) / 4.0

    def _encode_window(self, mel: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Features of frames `start` to `stop`, heard with their context."""
        first = max(0, start - _CONTEXT_FRAMES)
        last = stop + _CONTEXT_FRAMES + _TAIL_FRAMES
        layers = self._network(mel[None, :, 2 * first : 2 * last], self._positions)
        kept = slice(start - first, stop - first)
        normalised = [functional.layer_norm(layer[0, kept], (_WIDTH,)) for layer in layers]
        return torch.cat(normalised, dim=-1)  # (stop - start, 768)


def load_whisper_encoder(path: Path, device: str = "cpu") -> WhisperEncoder:
    """Load the encoder in float32; raise `MissingWeights` or `InvalidWeights`."""
    state, metadata = read_safetensors(path)
    content = metadata.get("content", "no named content encoder")
    if content != CONTENT_NAME:
        raise InvalidWeights(f"{path.name} holds {content}, not {CONTENT_NAME}.", value=str(path))
    with torch.device("meta"):  # random first values would be thrown away
        network = _Network()
    state = {key: tensor.float() for key, tensor in state.items()}
    load_strictly(network, state, path.name, InvalidWeights)
    return WhisperEncoder(network, device)


def _split_evenly(n_frames: int) -> list[tuple[int, int]]:
    """Cut `n_frames` into windows of about one length, each short enough to be encoded."""
    fits = n_frames + _TAIL_FRAMES <= _MAX_FRAMES
    n_windows = 1 if fits else -(-n_frames // _KEPT_FRAMES)
    edges = [n_frames * window // n_windows for window in range(n_windows + 1)]
    return list(pairwise(edges))


def _sinusoids(n_frames: int) -> torch.Tensor:
    """Position table (n_frames, width), rounded to 16 bits like the weights it is used with."""
    half = _WIDTH // 2
    scales = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half, dtype=torch.float64))
    angles = torch.arange(n_frames, dtype=torch.float64)[:, None] * scales
    return torch.cat([angles.sin(), angles.cos()], dim=1).half().float()


def _mel_filters() -> torch.Tensor:
    """Slaney's triangular filters, (80, 201)."""
    from torchaudio.functional import melscale_fbanks

    bins = _N_FFT // 2 + 1
    filters = melscale_fbanks(
        bins, 0.0, 8_000.0, _N_MELS, 16_000, norm="slaney", mel_scale="slaney"
    )
    return torch.as_tensor(filters).T.contiguous()
