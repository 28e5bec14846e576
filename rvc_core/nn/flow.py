"""The normalising flow, run backwards: mean-only couplings around WaveNets."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rvc_core.token import check_current


class WaveNet(nn.Module):
    """Gated convolutions with residual and skip outputs, conditioned on the speaker."""

    def __init__(self, channels: int, kernel_size: int, n_layers: int, speaker_dim: int) -> None:
        super().__init__()
        self.channels = channels
        self.cond_layer = nn.Conv1d(speaker_dim, 2 * channels * n_layers, 1)
        self.in_layers = nn.ModuleList(
            nn.Conv1d(channels, 2 * channels, kernel_size, padding=kernel_size // 2)
            for _ in range(n_layers)
        )
        # The last layer has no residual output.
        self.res_skip_layers = nn.ModuleList(
            nn.Conv1d(channels, channels * (2 if i < n_layers - 1 else 1), 1)
            for i in range(n_layers)
        )

    def forward(self, x: Tensor, speaker: Tensor) -> Tensor:
        """Sum of the skip outputs, (1, channels, frames)."""
        conditions = self.cond_layer(speaker).chunk(len(self.in_layers), dim=1)
        output = torch.zeros_like(x)
        layers = zip(self.in_layers, self.res_skip_layers, conditions, strict=True)
        for gate, res_skip, condition in layers:
            check_current()
            filtered, gated = (gate(x) + condition).chunk(2, dim=1)
            check_current()
            mixed = res_skip(filtered.tanh() * gated.sigmoid())
            if mixed.shape[1] > self.channels:
                x = x + mixed[:, : self.channels]
            output = output + mixed[:, -self.channels :]
        return output


class Coupling(nn.Module):
    """Shifts one half of the channels by what the other half says."""

    def __init__(self, channels: int, hidden: int, wavenet: WaveNet) -> None:
        super().__init__()
        self.pre = nn.Conv1d(channels // 2, hidden, 1)
        self.enc = wavenet
        self.post = nn.Conv1d(hidden, channels // 2, 1)

    def reverse(self, x: Tensor, speaker: Tensor) -> Tensor:
        """Undo the shift."""
        kept, shifted = x.chunk(2, dim=1)
        mean = self.post(self.enc(self.pre(kept), speaker))
        return torch.cat([kept, shifted - mean], dim=1)


class Flip(nn.Module):
    """Reverses the channels, so that each coupling shifts what the one before kept."""

    def reverse(self, x: Tensor, speaker: Tensor) -> Tensor:
        """Undo the reversal, which is the reversal itself."""
        return x.flip(1)


class Flow(nn.Module):
    """Couplings and flips in turn; only the direction used in inference."""

    def __init__(self, couplings: list[Coupling]) -> None:
        super().__init__()
        self.flows = nn.ModuleList(
            module for coupling in couplings for module in (coupling, Flip())
        )

    def reverse(self, x: Tensor, speaker: Tensor) -> Tensor:
        """Prior sample to latent, (1, channels, frames) both."""
        for module in reversed(self.flows):
            assert isinstance(module, (Coupling, Flip))
            x = module.reverse(x, speaker)
        return x
