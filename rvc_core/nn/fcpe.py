"""The FCPE network (Luo 2025): convolutions over the log-mel picture, no attention."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from rvc_core.token import check_current

N_MELS = 128
N_BINS = 360

_WIDTH = 512
_N_LAYERS = 6
_KERNEL = 31  # frames that a layer sees
_GROUPS = 4
_REACH = 4  # bins on either side of a peak that carry its pitch
_BASE_HZ = 10.0  # of 0 cents


class _Pointwise(nn.Conv1d):
    """A convolution of one frame over (batch, frames, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, frames, channels in) to (batch, frames, channels out)."""
        return functional.linear(x, self.weight[:, :, 0], self.bias)


class _Depthwise(nn.Conv1d):
    """A convolution over the frames of each channel of (batch, frames, channels).

    It runs as a two-dimensional one of height 1, channels innermost in memory: on a CPU that takes
    an eighth of the time.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        flat = x.transpose(1, 2).unsqueeze(2)  # (batch, channels, 1, frames)
        weight = self.weight.unsqueeze(2)
        y = functional.conv2d(
            flat, weight, self.bias, padding=(0, _KERNEL // 2), groups=self.groups
        )
        return y.squeeze(2).transpose(1, 2)  # (batch, frames, channels)


class _ConvModule(nn.Module):
    """A gated pointwise, a depthwise and a pointwise convolution, normalising before."""

    def __init__(self) -> None:
        super().__init__()
        inner = 2 * _WIDTH
        depthwise = _Depthwise(inner, inner, _KERNEL, groups=inner)
        layers = {
            "0": nn.LayerNorm(_WIDTH),
            "2": _Pointwise(_WIDTH, 2 * inner, 1),
            "3": nn.GLU(dim=-1),
            "4": nn.Sequential(OrderedDict(conv=depthwise)),
            "5": nn.SiLU(),
            "6": _Pointwise(inner, _WIDTH, 1),
        }
        self.net = nn.Sequential(OrderedDict(layers))  # numbered as in the file

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
            check_current()
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
