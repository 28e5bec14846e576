"""The network of an RVC voice: content, F0 and speaker to samples (VITS without durations)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rvc_core.nn.attention import Transformer
from rvc_core.nn.flow import Coupling, Flow, WaveNet
from rvc_core.nn.generator import Generator, GeneratorShape
from rvc_core.nn.source import SineSource

TILE_FRAMES = 400  # of the decoder: about four seconds


@dataclass(frozen=True)
class SynthesizerConfig:
    """Everything that says how the network is built; read from a voice's file."""

    sample_rate: int
    content_dim: int
    uses_f0: bool
    n_speakers: int
    hidden_channels: int
    filter_channels: int
    n_heads: int
    n_layers: int
    kernel_size: int
    window: int  # relative positions on each side
    flow_hidden: int
    n_flows: int
    flow_layers: int
    flow_kernel: int
    generator: GeneratorShape

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return self.generator.hop_length

    @property
    def frame_rate(self) -> float:
        """Frames per second; 100 for voices trained by RVC."""
        return self.sample_rate / self.hop_length


class PriorEncoder(nn.Module):
    """Content and pitch to mean and log deviation of the prior."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.emb_phone = nn.Linear(config.content_dim, config.hidden_channels)
        if config.uses_f0:
            self.emb_pitch = nn.Embedding(256, config.hidden_channels)
        self.encoder = Transformer(
            config.hidden_channels,
            config.filter_channels,
            config.n_heads,
            config.n_layers,
            config.kernel_size,
            config.window,
        )
        self.proj = nn.Conv1d(config.hidden_channels, 2 * config.generator.channels_in, 1)

    def forward(self, content: Tensor, f0_bins: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log deviation, (1, latent channels, frames) each."""
        x = self.emb_phone(content)  # (frames, hidden)
        if f0_bins is not None:
            x = x + self.emb_pitch(f0_bins)
        x = F.leaky_relu(x * math.sqrt(x.shape[-1]), 0.1)
        stats = self.proj(self.encoder(x.T[None]))  # (frames, hidden) -> (1, hidden, frames)
        mean, log_deviation = stats.chunk(2, dim=1)
        return mean, log_deviation


@dataclass(frozen=True)
class Pitch:
    """F0 of consecutive frames as the network takes it, each (frames,).

    `f0` in Hz with 0 = unvoiced, `f0_bins` 1 to 255, `phase` in cycles at each frame's start.
    """

    f0: Tensor
    f0_bins: Tensor
    phase: Tensor

    def frames(self, start: int, stop: int) -> Pitch:
        """The part from frame `start` up to `stop`."""
        return Pitch(self.f0[start:stop], self.f0_bins[start:stop], self.phase[start:stop])


class Synthesizer(nn.Module):
    """Mean and deviation from the prior, a sample of it, the flow backwards, the decoder."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.config = config
        shape = config.generator
        self.enc_p = PriorEncoder(config)
        self.flow = Flow([_coupling(config) for _ in range(config.n_flows)])
        source = SineSource(config.sample_rate, config.hop_length) if config.uses_f0 else None
        self.dec = Generator(shape, source)
        self.emb_g = nn.Embedding(config.n_speakers, shape.speaker_dim)

    @torch.inference_mode()
    def latent(
        self, content: Tensor, f0_bins: Tensor | None, speaker_id: int, noise: Tensor
    ) -> Tensor:
        """Latent (1, channels, frames) of `content` (frames, content_dim).

        `noise` is (channels, frames), already scaled.
        """
        mean, log_deviation = self.enc_p(content, f0_bins)
        return self.flow.reverse(mean + log_deviation.exp() * noise, self._speaker(speaker_id))

    @torch.inference_mode()
    def decode(
        self, latent: Tensor, pitch: Pitch | None, speaker_id: int, noise: Tensor | None
    ) -> Tensor:
        """Samples (frames * hop_length,) of `latent`; `noise` excites voices that use F0.

        Long latents go through in tiles that overlap by the decoder's reach: the same samples,
        in bounded memory and, as that memory is used again, in less time.
        """
        excitation = None
        if pitch is not None and noise is not None:
            excitation = self.dec.m_source(pitch.f0, pitch.phase, noise)
        speaker, n_frames = self._speaker(speaker_id), latent.shape[2]
        hop, reach = self.config.hop_length, self.config.generator.receptive_frames()
        tiles = []
        for start in range(0, n_frames, TILE_FRAMES):
            stop = min(start + TILE_FRAMES, n_frames)
            low, high = max(0, start - reach), min(n_frames, stop + reach)
            heard = None if excitation is None else excitation[:, :, low * hop : high * hop]
            samples = self.dec(latent[:, :, low:high], speaker, heard)[0, 0]
            tiles.append(samples[(start - low) * hop : (stop - low) * hop].float())
        return torch.cat(tiles)

    def _speaker(self, speaker_id: int) -> Tensor:
        return self.emb_g.weight[speaker_id][None, :, None]  # (1, speaker_dim, 1)


def _coupling(config: SynthesizerConfig) -> Coupling:
    hidden = config.flow_hidden
    wavenet = WaveNet(hidden, config.flow_kernel, config.flow_layers, config.generator.speaker_dim)
    return Coupling(config.generator.channels_in, hidden, wavenet)
