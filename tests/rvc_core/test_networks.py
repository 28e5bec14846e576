"""The network's layers against plain restatements of their formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from rvc_core import synthesizer
from rvc_core.nn.attention import QUERY_BLOCK, RelativeAttention
from rvc_core.nn.source import SINE_AMPLITUDE, SineSource, frame_phase
from rvc_core.noise import BLOCK_FRAMES, NoiseField
from rvc_core.synthesizer import Pitch, Synthesizer
from tests.rvc_core.tiny import RATES, TinyVoice


def _seeded(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    random = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=random) * 0.3
    return module.requires_grad_(False)


def _plain_attention(module: RelativeAttention, x: torch.Tensor) -> torch.Tensor:
    """Scores, distance by distance, over the whole matrix."""
    frames = x.shape[2]

    def heads(convolution: torch.nn.Module) -> torch.Tensor:
        return torch.as_tensor(convolution(x))[0].view(module.n_heads, -1, frames).transpose(1, 2)

    query = heads(module.conv_q) / math.sqrt(module.head_dim)
    key, value = heads(module.conv_k), heads(module.conv_v)
    scores = query @ key.transpose(1, 2)
    distance = torch.arange(frames)[None, :] - torch.arange(frames)[:, None]
    near = distance.abs() <= module.window
    places = (distance + module.window).clamp(0, 2 * module.window)
    by_key = module.emb_rel_k[0][places] * near[..., None]  # (frames, frames, head_dim)
    by_value = module.emb_rel_v[0][places] * near[..., None]
    scores = scores + torch.einsum("hqd,qkd->hqk", query, by_key)
    weights = scores.softmax(-1)
    mixed = weights @ value + torch.einsum("hqk,qkd->hqd", weights, by_value)
    return torch.as_tensor(module.conv_o(mixed.transpose(1, 2).reshape(1, -1, frames)))


@pytest.mark.parametrize("frames", [1, 5, 21, QUERY_BLOCK, QUERY_BLOCK + 30])
def test_attention_in_blocks_equals_the_whole_matrix(frames: int) -> None:
    module = RelativeAttention(channels=8, n_heads=2, window=10)
    _seeded(module)
    x = torch.randn(1, 8, frames, generator=torch.Generator().manual_seed(frames))
    torch.testing.assert_close(module(x), _plain_attention(module, x), rtol=1e-5, atol=1e-5)


def test_the_excitation_is_a_sine_of_the_frequency_asked_for() -> None:
    source = SineSource(sample_rate=16_000, hop_length=160)
    source.l_linear.weight.data, source.l_linear.bias.data = torch.ones(1, 1), torch.zeros(1)
    f0 = torch.full((100,), 200.0)
    with torch.inference_mode():
        wave = source(f0, frame_phase(f0, 16_000, 160), torch.zeros(16_000))[0, 0]
    expected = np.tanh(SINE_AMPLITUDE * np.sin(2 * np.pi * 200 * np.arange(1, 16_001) / 16_000))
    np.testing.assert_allclose(wave.numpy(), expected, atol=2e-6)


def test_unvoiced_frames_get_noise_and_no_sine() -> None:
    source = SineSource(sample_rate=16_000, hop_length=160)
    source.l_linear.weight.data, source.l_linear.bias.data = torch.ones(1, 1), torch.zeros(1)
    f0 = torch.zeros(100)
    noise = torch.randn(16_000, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        silent = source(f0, frame_phase(f0, 16_000, 160), torch.zeros(16_000))
        noisy = source(f0, frame_phase(f0, 16_000, 160), noise)
    assert not silent.any()
    assert float(noisy.std()) == pytest.approx(SINE_AMPLITUDE / 3, rel=0.02)


def test_phases_run_on_over_a_slice() -> None:
    f0 = torch.linspace(100, 300, 50)
    phase = frame_phase(f0, 40_000, 400)
    cycles = (f0.double() * 400 / 40_000).cumsum(0) % 1
    torch.testing.assert_close(phase[1:], cycles[:-1])


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("block_type", ["1", "2"])
def test_decoding_a_part_with_its_reach_equals_decoding_the_whole(
    sample_rate: int, block_type: str
) -> None:
    config = TinyVoice(sample_rate, block_type=block_type).config()
    network = Synthesizer(config)
    _seeded(network)
    hop, reach = config.hop_length, config.generator.receptive_frames()
    latent = torch.randn(1, 4, 60, generator=torch.Generator().manual_seed(2))
    f0 = torch.full((60,), 180.0)
    pitch = Pitch(f0, torch.ones(60, dtype=torch.int64), frame_phase(f0, sample_rate, hop))
    noise = NoiseField(3).source(0, 60, hop)
    whole = network.decode(latent, pitch, 0, noise)
    start, stop = 30 - reach, 31 + reach
    part = network.decode(
        latent[:, :, start:stop], pitch.frames(start, stop), 0, noise[start * hop : stop * hop]
    )
    kept = part[reach * hop : (reach + 1) * hop]
    torch.testing.assert_close(kept, whole[30 * hop : 31 * hop], rtol=1e-4, atol=1e-6)
    assert reach < 25


def test_the_frame_rate_follows_from_rate_and_upsampling() -> None:
    assert TinyVoice(40_000).config().frame_rate == 100
    assert TinyVoice(22_050).config().frame_rate == pytest.approx(86.133, abs=1e-3)
    slow = replace(TinyVoice(40_000).config(), sample_rate=20_000)
    assert slow.frame_rate == 50


def test_noise_depends_on_the_place_and_not_on_the_cut() -> None:
    field = NoiseField(11)
    whole = field.latent(0, 3 * BLOCK_FRAMES, 4)
    part = field.latent(BLOCK_FRAMES - 5, 2 * BLOCK_FRAMES + 5, 4)
    assert torch.equal(part, whole[:, BLOCK_FRAMES - 5 : 2 * BLOCK_FRAMES + 5])
    assert abs(float(whole.std()) - 1) < 0.05
    assert not torch.equal(whole, NoiseField(12).latent(0, 3 * BLOCK_FRAMES, 4))
    assert len(field.source(3, 10, 40)) == 280


def test_decoding_in_tiles_equals_decoding_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TinyVoice().config()
    network = Synthesizer(config)
    _seeded(network)
    latent = torch.randn(1, 4, 90, generator=torch.Generator().manual_seed(4))
    f0 = torch.full((90,), 180.0)
    pitch = Pitch(f0, torch.ones(90, dtype=torch.int64), frame_phase(f0, 40_000, 400))
    noise = NoiseField(3).source(0, 90, 400)
    whole = network.decode(latent, pitch, 0, noise)
    monkeypatch.setattr(synthesizer, "TILE_FRAMES", 20)
    torch.testing.assert_close(network.decode(latent, pitch, 0, noise), whole, rtol=1e-4, atol=1e-6)


def test_the_layout_of_weights_in_memory_changes_no_value() -> None:
    network = Synthesizer(TinyVoice().config())
    _seeded(network)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    latent = torch.randn(1, 4, 10, generator=torch.Generator().manual_seed(4))
    expected = network.decode(latent, None, 0, None)
    network.dec.put_channels_innermost()
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[key])
    torch.testing.assert_close(
        network.decode(latent, None, 0, None), expected, rtol=1e-4, atol=1e-6
    )
