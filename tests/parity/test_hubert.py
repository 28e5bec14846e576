"""HuBERT in its real size: layers, widths and numbers of frames."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rvc_core.content import HubertEncoder, load_hubert
from rvc_core.errors import ContentEncoderMismatch
from rvc_core.weights import read_torch_file
from tests.parity.conftest import ParityFiles


@pytest.fixture(scope="module")
def encoder(parity_files: ParityFiles) -> HubertEncoder:
    return load_hubert(parity_files.hubert)


@pytest.mark.parametrize("n_samples", [400, 719, 720, 4_000])
@pytest.mark.parametrize("content_dim", [256, 768])
def test_the_number_of_frames_follows_the_convolutions(
    n_samples: int, content_dim: int, encoder: HubertEncoder
) -> None:
    content = encoder.encode(torch.zeros(n_samples), content_dim)
    assert content.shape == ((n_samples - 400) // 320 + 1, content_dim)


def test_v1_features_are_layer_nine_projected(encoder: HubertEncoder) -> None:
    samples = torch.randn(3_200, generator=torch.Generator().manual_seed(0))
    layers, _ = encoder._network.extract_features(samples[None])  # type: ignore[operator]
    assert encoder._final_proj is not None
    expected = encoder._final_proj(layers[8][0])
    torch.testing.assert_close(encoder.encode(samples, 256), expected)


def test_an_encoder_without_projection_refuses_v1_voices(
    parity_files: ParityFiles, tmp_path: Path
) -> None:
    folder = tmp_path / "hubert"
    folder.mkdir()
    (folder / "config.json").write_text((parity_files.hubert / "config.json").read_text())
    state = read_torch_file(parity_files.hubert / "pytorch_model.bin")
    half = {k: v.half() for k, v in state.items() if not k.startswith("final_proj")}
    torch.save(half, folder / "pytorch_model.bin")
    encoder = load_hubert(folder)
    assert encoder.encode(torch.zeros(800), 768).dtype == torch.float32
    with pytest.raises(ContentEncoderMismatch, match="final_proj"):
        encoder.encode(torch.zeros(800), 256)
