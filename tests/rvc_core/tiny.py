"""A voice of a few thousand weights in RVC's file format, and stand-ins for the large networks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rvc_core.audio import Audio
from rvc_core.content import ContentEncoder
from rvc_core.nn.generator import GeneratorShape
from rvc_core.synthesizer import Synthesizer, SynthesizerConfig
from rvc_core.voice import Voice, load_voice

Array = npt.NDArray[Any]

RATES = {
    22_050: ((8, 8, 4), (16, 16, 8)),
    24_000: ((10, 6, 2, 2), (20, 12, 4, 4)),
    32_000: ((10, 8, 2, 2), (20, 16, 4, 4)),
    40_000: ((10, 10, 2, 2), (16, 16, 4, 4)),
    48_000: ((12, 10, 2, 2), (24, 20, 4, 4)),
}


@dataclass(frozen=True)
class TinyVoice:
    """Which voice to make; its file has the keys and entries of a real one."""

    sample_rate: int = 40_000
    uses_f0: bool = True
    content_dim: int = 768
    n_speakers: int = 2
    block_type: str = "1"
    flow_layers: int = 3
    seed: int = 0
    extras: dict[str, Any] = field(default_factory=dict)

    def config(self) -> SynthesizerConfig:
        """Layout of the network."""
        rates, kernels = RATES[self.sample_rate]
        generator = GeneratorShape(
            channels_in=4,
            channels=2 ** len(rates),
            upsample_rates=rates,
            upsample_kernels=kernels,
            block_type=self.block_type,
            block_kernels=(3,),
            block_dilations=((1, 3, 5) if self.block_type == "1" else (1, 3),),
            speaker_dim=3,
        )
        return SynthesizerConfig(
            sample_rate=self.sample_rate,
            content_dim=self.content_dim,
            uses_f0=self.uses_f0,
            n_speakers=self.n_speakers,
            hidden_channels=8,
            filter_channels=8,
            n_heads=2,
            n_layers=2,
            kernel_size=3,
            window=10,
            flow_hidden=4,
            n_flows=4,
            flow_layers=self.flow_layers,
            flow_kernel=5,
            generator=generator,
        )

    def state(self) -> dict[str, torch.Tensor]:
        """Seeded weights, loud enough to give audible output."""
        network = Synthesizer(self.config())
        random = torch.Generator().manual_seed(self.seed)
        return {
            key: torch.randn(tensor.shape, generator=random)
            / math.sqrt(max(1, tensor[0].numel() if tensor.ndim > 1 else 16))
            for key, tensor in network.state_dict().items()
        }

    def checkpoint(self) -> dict[str, Any]:
        """What its file holds."""
        config = self.config()
        shape = config.generator
        dilations = [list(d) for d in shape.block_dilations]
        entries = [513, 32, 4, 8, 8, 2, 2, 3, 0, self.block_type, [3], dilations]
        entries += [list(shape.upsample_rates), shape.channels, list(shape.upsample_kernels)]
        entries += [self.n_speakers, 3, self.sample_rate]
        return {
            "weight": {key: tensor.half() for key, tensor in self.state().items()},
            "config": entries,
            "info": "1epoch",
            "sr": f"{self.sample_rate // 1000}k",
            "f0": int(self.uses_f0),
            "version": "v2" if self.content_dim == 768 else "v1",
            **self.extras,
        }

    def write(self, folder: Path, name: str = "tiny") -> Path:
        """Write the file and return its path."""
        path = folder / f"{name}.pth"
        torch.save(self.checkpoint(), path)
        return path

    def load(self, folder: Path, name: str = "tiny") -> Voice:
        """The voice, loaded from its file."""
        return load_voice(self.write(folder, name))


class FakeContentEncoder:
    """As many frames as HuBERT gives, their values a smooth function of the loudness."""

    nbytes = 0

    def __init__(self, name: str = "hubert") -> None:
        self.name = name

    def encode(self, samples: torch.Tensor, content_dim: int) -> torch.Tensor:
        """Features (frames, content_dim)."""
        n_frames = (len(samples) - 400) // 320 + 1
        loudness = samples[: n_frames * 320].reshape(n_frames, 320).abs().mean(1, keepdim=True)
        phases = torch.arange(content_dim) / content_dim
        return torch.sin(20 * loudness + 6 * phases)

    def to(self, device: str) -> None:
        """Nothing to move."""


class FakeF0Estimator:
    """A steady 150 Hz, unvoiced where the samples are silent."""

    name = "fake"
    extra_frames = 0
    nbytes = 0

    def estimate(self, samples: Array, n_frames: int) -> npt.NDArray[np.float64]:
        """F0 (n_frames,)."""
        hops = np.abs(samples[: n_frames * 160]).reshape(n_frames, 160).mean(1)
        return np.where(hops > 1e-4, 150.0, 0.0)

    def to(self, device: str) -> None:
        """Nothing to move."""


def hubert_like() -> ContentEncoder:
    """A content encoder for voices that want HuBERT."""
    return FakeContentEncoder()


def tone(seconds: float, sample_rate: int = 16_000, hertz: float = 150.0) -> Audio:
    """A sine of amplitude 0.3."""
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    samples = 0.3 * np.sin(2 * np.pi * hertz * times)
    return Audio(samples.astype(np.float32), sample_rate)
