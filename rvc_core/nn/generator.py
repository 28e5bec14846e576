"""HiFi-GAN (Kong 2020), with the NSF excitation where the voice uses F0.

Samples run through two-dimensional convolutions of height 1, (1, channels, 1, samples), channels
innermost in memory: on a CPU that takes about half the time of the one-dimensional ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rvc_core.nn.source import SineSource
from rvc_core.token import check_current

SLOPE = 0.1  # of every leaky ReLU but the last
LAST_SLOPE = 0.01


@dataclass(frozen=True)
class GeneratorShape:
    """What the decoder's layers look like; one entry of the tuples per stage or block."""

    channels_in: int
    channels: int
    upsample_rates: tuple[int, ...]
    upsample_kernels: tuple[int, ...]
    block_type: str  # "1": pairs of convolutions, "2": single ones
    block_kernels: tuple[int, ...]
    block_dilations: tuple[tuple[int, ...], ...]
    speaker_dim: int

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.upsample_rates)

    def receptive_frames(self) -> int:
        """Frames on each side that an output sample can depend on."""
        reach, rate = 3.0, 1  # conv_pre: seven taps at frame rate
        for upsample, kernel in zip(self.upsample_rates, self.upsample_kernels, strict=True):
            rate *= upsample
            reach += kernel / rate + self._block_reach() / rate
        return math.ceil(reach + 3 / rate)  # conv_post

    def _block_reach(self) -> int:
        reaches = []
        for kernel, dilations in zip(self.block_kernels, self.block_dilations, strict=True):
            dilated = sum(dilations)
            plain = len(dilations) if self.block_type == "1" else 0
            reaches.append((dilated + plain) * (kernel // 2))
        return max(reaches)


class FlatConv(nn.Conv1d):
    """A one-dimensional convolution over (1, channels, 1, samples)."""

    def forward(self, x: Tensor) -> Tensor:
        """Samples (1, channels out, 1, samples)."""
        return F.conv2d(
            x,
            self.weight.unsqueeze(2),
            self.bias,
            (1, self.stride[0]),
            (0, int(self.padding[0])),
            (1, self.dilation[0]),
        )


class FlatUpsampling(nn.ConvTranspose1d):
    """A one-dimensional transposed convolution over (1, channels, 1, samples)."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Samples (1, channels out, 1, samples * stride)."""
        stride, padding = (1, self.stride[0]), (0, int(self.padding[0]))
        return F.conv_transpose2d(x, self.weight.unsqueeze(2), self.bias, stride, padding)


def same_conv(channels: int, kernel_size: int, dilation: int = 1) -> FlatConv:
    """Convolution that keeps channels and length."""
    padding = (kernel_size - 1) * dilation // 2
    return FlatConv(channels, channels, kernel_size, dilation=dilation, padding=padding)


class PairedBlock(nn.Module):
    """Residual block type 1: a dilated and a plain convolution per step."""

    def __init__(self, channels: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same_conv(channels, kernel_size, d) for d in dilations)
        self.convs2 = nn.ModuleList(same_conv(channels, kernel_size) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            check_current()
            x = x + plain(F.leaky_relu(dilated(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class SingleBlock(nn.Module):
    """Residual block type 2: one dilated convolution per step."""

    def __init__(self, channels: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(same_conv(channels, kernel_size, d) for d in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        for dilated in self.convs:
            check_current()
            x = x + dilated(F.leaky_relu(x, SLOPE))
        return x


BLOCKS: dict[str, type[PairedBlock] | type[SingleBlock]] = {"1": PairedBlock, "2": SingleBlock}


class Generator(nn.Module):
    """Latent frames to samples."""

    def __init__(self, shape: GeneratorShape, source: SineSource | None) -> None:
        super().__init__()
        self.n_kernels = len(shape.block_kernels)
        self.conv_pre = FlatConv(shape.channels_in, shape.channels, 7, padding=3)
        self.cond = nn.Conv1d(shape.speaker_dim, shape.channels, 1)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        channels = shape.channels
        for rate, kernel in zip(shape.upsample_rates, shape.upsample_kernels, strict=True):
            up = FlatUpsampling(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            channels //= 2
            self.ups.append(up)
            for size, dilations in zip(shape.block_kernels, shape.block_dilations, strict=True):
                self.resblocks.append(BLOCKS[shape.block_type](channels, size, dilations))
        self.conv_post = FlatConv(channels, 1, 7, padding=3, bias=False)
        if source is not None:
            self.m_source = source
            self.noise_convs = nn.ModuleList(_source_convs(shape))

    def forward(self, latent: Tensor, speaker: Tensor, excitation: Tensor | None) -> Tensor:
        """Samples (1, 1, frames * hop_length) of `latent` (1, channels_in, frames)."""
        flat = latent.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        x = self.conv_pre(flat) + self.cond(speaker).unsqueeze(2)
        for stage, up in enumerate(self.ups):
            check_current()
            x = up(F.leaky_relu(x, SLOPE))
            if excitation is not None:
                x = x + self.noise_convs[stage](excitation.unsqueeze(2))
            first = stage * self.n_kernels
            blocks = self.resblocks[first : first + self.n_kernels]
            mixed = blocks[0](x)
            for block in blocks[1:]:
                mixed += block(x)
            x = mixed / self.n_kernels
        samples = torch.tanh(self.conv_post(F.leaky_relu(x, LAST_SLOPE)))
        return samples.squeeze(2)

    def put_channels_innermost(self) -> None:
        """Lay the weights out in memory as the convolutions read them; values stay."""
        for module in self.modules():
            if isinstance(module, (FlatConv, FlatUpsampling)):
                rows = module.weight.data.transpose(1, 2).contiguous()
                module.weight.data = rows.transpose(1, 2)  # the same shape, other strides


def _source_convs(shape: GeneratorShape) -> list[FlatConv]:
    """Convolutions that bring the excitation to each stage's rate and width."""
    convs = []
    channels = shape.channels
    for stage in range(len(shape.upsample_rates)):
        channels //= 2
        stride = math.prod(shape.upsample_rates[stage + 1 :])
        if stage == len(shape.upsample_rates) - 1:
            convs.append(FlatConv(1, channels, 1))
        else:
            convs.append(FlatConv(1, channels, 2 * stride, stride, padding=stride // 2))
    return convs
