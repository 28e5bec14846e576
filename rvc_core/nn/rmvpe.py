"""The RMVPE network (Wei 2023): a U-Net over the log-mel picture, then a recurrent head.

Channels double on each of five levels down, from 16 to 512, while time and mel halve.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rvc_core.token import check_current

N_MELS = 128
N_BINS = 360
N_LEVELS = 5
FRAMES_MULTIPLE = 2**N_LEVELS  # time is halved once a level

_BLOCKS = 4  # residual blocks in a row, everywhere
_FIRST_CHANNELS = 16
_BRIDGE_LEVELS = 4
_HEAD_CHANNELS = 3
_GRU_WIDTH = 256
_GRU_SLICE = 512  # frames


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity, or beside a 1x1 one where the width changes."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
        )
        self.shortcut = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_in, time, mel) to (batch, n_out, time, mel)."""
        check_current()
        changed: Tensor = self.conv(x) + self.shortcut(x)
        return changed


def _blocks(n_in: int, n_out: int) -> nn.ModuleList:
    widths = [n_in] + [n_out] * (_BLOCKS - 1)
    return nn.ModuleList(_ResidualBlock(width, n_out) for width in widths)


class _Level(nn.Module):
    """Residual blocks in a row."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = _blocks(n_in, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_in, time, mel) to (batch, n_out, time, mel)."""
        for block in self.conv:
            x = block(x)
        return x


class _Encoder(nn.Module):
    """The way down; keeps what each level saw."""

    def __init__(self) -> None:
        super().__init__()
        widths = [1] + [_FIRST_CHANNELS * 2**level for level in range(N_LEVELS)]
        self.bn = nn.BatchNorm2d(1)
        self.layers = nn.ModuleList(
            _Level(n_in, n_out) for n_in, n_out in zip(widths[:-1], widths[1:], strict=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The deepest picture, halved, and the pictures of all levels before halving."""
        x = self.bn(x)
        seen = []
        for level in self.layers:
            x = level(x)
            seen.append(x)
            x = functional.avg_pool2d(x, 2)
        return x, seen


class _Bridge(nn.Module):
    """The levels at the bottom of the U."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        widths = [n_in] + [n_out] * (_BRIDGE_LEVELS - 1)
        self.layers = nn.ModuleList(_Level(width, n_out) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_in, time, mel) to (batch, n_out, time, mel)."""
        for level in self.layers:
            x = level(x)
        return x


class _UpLevel(nn.Module):
    """Doubles time and mel, then joins what the encoder saw at that size."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        n_out = n_in // 2
        self.conv1 = nn.Sequential(
            nn.ConvTranspose2d(n_in, n_out, 3, stride=2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
        )
        self.conv2 = _blocks(2 * n_out, n_out)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Map (batch, n_in, time, mel) to (batch, n_in / 2, 2 * time, 2 * mel)."""
        x = torch.cat([self.conv1(x), seen], dim=1)
        for block in self.conv2:
            x = block(x)
        return x


class _Decoder(nn.Module):
    """The way up."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_UpLevel(n_in >> level) for level in range(N_LEVELS))

    def forward(self, x: Tensor, seen: list[Tensor]) -> Tensor:
        """Map the deepest picture to one of the first level's size."""
        for level, picture in zip(self.layers, reversed(seen), strict=True):
            x = level(x, picture)
        return x


class _UNet(nn.Module):
    """Down, across and up."""

    def __init__(self) -> None:
        super().__init__()
        deepest = _FIRST_CHANNELS * 2 ** (N_LEVELS - 1)
        self.encoder = _Encoder()
        self.intermediate = _Bridge(deepest, 2 * deepest)
        self.decoder = _Decoder(2 * deepest)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 1, time, mel) to (batch, 16, time, mel)."""
        x, seen = self.encoder(x)
        raised: Tensor = self.decoder(self.intermediate(x), seen)
        return raised


class _Recurrence(nn.Module):
    """A GRU in both directions of time."""

    def __init__(self) -> None:
        super().__init__()
        n_in = _HEAD_CHANNELS * N_MELS
        self.gru = nn.GRU(n_in, _GRU_WIDTH, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, time, channels * mel) to (batch, time, 512)."""
        if x.device.type != "cpu":
            states: Tensor = self.gru(x)[0]
            return states
        # Slice by slice, with a look at the token between: a minute takes a CPU a second.
        behind = self._one_way(x.flip(1), "_reverse").flip(1)
        return torch.cat([self._one_way(x, ""), behind], dim=2)

    def _one_way(self, x: Tensor, suffix: str) -> Tensor:
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        weights = [getattr(self.gru, name + suffix) for name in names]
        state = x.new_zeros(1, len(x), _GRU_WIDTH)
        slices = []
        for start in range(0, x.shape[1], _GRU_SLICE):
            check_current()
            part = x[:, start : start + _GRU_SLICE]
            states, state = torch.gru(part, state, weights, True, 1, 0.0, False, False, True)
            slices.append(states)
        return torch.cat(slices, dim=1)


class RMVPENetwork(nn.Module):
    """Salience of 360 pitch bins, 20 cents each, from a log-mel picture."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = _UNet()
        self.cnn = nn.Conv2d(_FIRST_CHANNELS, _HEAD_CHANNELS, 3, padding=1)
        self.fc = nn.Sequential(_Recurrence(), nn.Linear(2 * _GRU_WIDTH, N_BINS), nn.Sigmoid())

    def forward(self, log_mel: Tensor) -> Tensor:
        """Map (batch, 128, time) to (batch, time, 360); time is a multiple of 32."""
        picture = log_mel.transpose(1, 2).unsqueeze(1)  # (batch, 1, time, mel)
        features = self.cnn(self.unet(picture))  # (batch, 3, time, mel)
        features = features.transpose(1, 2).flatten(2)  # (batch, time, 3 * mel)
        salience: Tensor = self.fc(features)
        return salience
