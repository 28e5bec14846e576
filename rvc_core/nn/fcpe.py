"""The FCPE network (Luo 2025): convolutions over the log-mel picture, no attention."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

N_MELS = 128
N_BINS = 360

_WIDTH = 512
_N_LAYERS = 6
_KERNEL = 31  # frames that a layer sees
_GROUPS = 4
_REACH = 4  # bins on either side of a peak that carry its pitch
_BASE_HZ = 10.0  # of 0 cents


class _SwapAxes(nn.Module):
    """Frames before channels, or back."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, a, b) to (batch, b, a)."""
        return x.transpose(1, 2)


class _ConvModule(nn.Module):
    """A gated pointwise, a depthwise and a pointwise convolution, normalising before."""

    def __init__(self) -> None:
        super().__init__()
        inner = 2 * _WIDTH
        depthwise = nn.Conv1d(inner, inner, _KERNEL, padding=_KERNEL // 2, groups=inner)
        self.net = nn.Sequential(
            nn.LayerNorm(_WIDTH),
            _SwapAxes(),
            nn.Conv1d(_WIDTH, 2 * inner, 1),
            nn.GLU(dim=1),
            nn.Sequential(OrderedDict(conv=depthwise)),
            nn.SiLU(),
            nn.Conv1d(inner, _WIDTH, 1),
            _SwapAxes(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, frames, width) to the same shape."""
        changed: Tensor = self.net(x)
        return changed


class _Layer(nn.Module):
    """The convolutions beside the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.conformer = _ConvModule()

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, frames, width) to the same shape."""
        changed: Tensor = x + self.conformer(x)
        return changed


class _Encoder(nn.Module):
    """Layers in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_layers = nn.ModuleList(_Layer() for _ in range(_N_LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, frames, width) to the same shape."""
        for layer in self.encoder_layers:
            x = layer(x)
        return x


class FCPENetwork(nn.Module):
    """Salience of 360 pitch bins from a log-mel picture; the file states the bins' pitches."""

    cent_table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.input_stack = nn.Sequential(
            nn.Conv1d(N_MELS, _WIDTH, 3, padding=1),
            nn.GroupNorm(_GROUPS, _WIDTH),
            nn.LeakyReLU(),
            nn.Conv1d(_WIDTH, _WIDTH, 3, padding=1),
        )
        self.net = _Encoder()
        self.norm = nn.LayerNorm(_WIDTH)
        self.output_proj = nn.Linear(_WIDTH, N_BINS)
        self.register_buffer("cent_table", torch.empty(N_BINS))

    def forward(self, log_mel: Tensor) -> Tensor:
        """Map (batch, frames, 128) to salience (batch, frames, 360)."""
        x = self.input_stack(log_mel.transpose(1, 2)).transpose(1, 2)  # (batch, frames, width)
        return torch.sigmoid(self.output_proj(self.norm(self.net(x))))

    def decode(self, salience: Tensor, threshold: float) -> Tensor:
        """F0 in Hz (batch, frames) from salience; 0 where no bin is above `threshold`.

        The pitch is the mean of the 9 bins around the peak, in which a bin at the end of the
        table stands for those beyond it.
        """
        height, peak = salience.max(dim=-1, keepdim=True)  # (batch, frames, 1)
        reach = torch.arange(-_REACH, _REACH + 1, device=peak.device)
        around = (peak + reach).clamp(0, N_BINS - 1)  # (batch, frames, 9)
        weights = salience.gather(-1, around)
        cents = (self.cent_table[around] * weights).sum(dim=-1) / weights.sum(dim=-1)
        return torch.where(height[..., 0] > threshold, _BASE_HZ * 2 ** (cents / 1200), 0.0)
