"""The NSF excitation: a sine at F0 where voiced, noise everywhere (Wang 2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SINE_AMPLITUDE = 0.1
VOICED_NOISE = 0.003  # standard deviation beside the sine
UNVOICED_NOISE = SINE_AMPLITUDE / 3  # standard deviation where there is no sine


def frame_phase(f0: Tensor, sample_rate: int, hop_length: int) -> Tensor:
    """Phase in cycles, within [0, 1), at the start of each frame of `f0` in Hz; float64.

    The first frame starts at 0. Frames of a longer curve keep its phase when sliced, which is
    what lets separately synthesized pieces join.
    """
    cycles = f0.double() * hop_length / sample_rate
    return (cycles.cumsum(0) - cycles) % 1.0


class SineSource(nn.Module):
    """Merges sine and noise into the excitation of one clip."""

    def __init__(self, sample_rate: int, hop_length: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.l_linear = nn.Linear(1, 1)

    def forward(self, f0: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
        """Excitation (1, 1, frames * hop_length) of `f0` and `phase`, both (frames,).

        `noise` holds standard normal values, (frames * hop_length,). Phases are added up in
        float64: official RVC's float32 sum is the same to about 1e-6 cycles.
        """
        steps = torch.arange(1, self.hop_length + 1, device=f0.device, dtype=torch.float64)
        step = (f0 / self.sample_rate % 1.0).double()  # cycles per sample
        cycles = (phase[:, None] + step[:, None] * steps).flatten() % 1.0
        sine = SINE_AMPLITUDE * torch.sin(2 * math.pi * cycles.float())
        voiced = (f0 > 0).float().repeat_interleave(self.hop_length)
        level = voiced * VOICED_NOISE + (1 - voiced) * UNVOICED_NOISE
        mixed = (sine * voiced + level * noise).to(self.l_linear.weight.dtype)
        return torch.tanh(self.l_linear(mixed[:, None])).T[None]  # (samples, 1) -> (1, 1, samples)
