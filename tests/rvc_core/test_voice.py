"""Voices from files: what is read, what is inferred, what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from rvc_core.errors import InvalidCheckpoint, TrainingCheckpoint, UnsupportedVocoder
from rvc_core.layout import parse_sample_rate
from rvc_core.library import file_hash
from rvc_core.voice import load_voice
from tests.parity import recipe
from tests.rvc_core.tiny import RATES, TinyVoice


def _save(folder: Path, content: Any, name: str = "voice.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("uses_f0", [True, False])
def test_what_the_file_says_is_read(sample_rate: int, uses_f0: bool, tmp_path: Path) -> None:
    path = TinyVoice(sample_rate, uses_f0, n_speakers=5).write(tmp_path, "anna")
    voice = load_voice(path)
    assert (voice.name, voice.facts.version, voice.sample_rate) == ("anna", "v2", sample_rate)
    assert (voice.uses_f0, voice.n_speakers, voice.facts.content) == (uses_f0, 5, "hubert")
    assert voice.content_hash == file_hash(path)


def test_depths_and_block_type_are_read_from_the_tensors(tmp_path: Path) -> None:
    voice = TinyVoice(block_type="2", flow_layers=4).load(tmp_path)
    assert voice.config.flow_layers == 4
    assert voice.config.n_layers == 2
    assert voice.config.generator.block_type == "2"


@pytest.mark.parametrize("version", ["v1", None, "v9"])
def test_a_wrong_or_missing_version_is_inferred(version: str | None, tmp_path: Path) -> None:
    checkpoint = TinyVoice(content_dim=768).checkpoint()
    checkpoint["version"] = version
    if version is None:
        del checkpoint["version"]
    assert load_voice(_save(tmp_path, checkpoint)).facts.version == "v2"


@pytest.mark.parametrize("stated", [0, None])
def test_a_wrong_or_missing_f0_flag_is_inferred(stated: int | None, tmp_path: Path) -> None:
    checkpoint = TinyVoice(uses_f0=True).checkpoint()
    checkpoint["f0"] = stated
    if stated is None:
        del checkpoint["f0"]
    assert load_voice(_save(tmp_path, checkpoint)).uses_f0


def test_a_wrong_number_of_speakers_is_inferred(tmp_path: Path) -> None:
    checkpoint = TinyVoice(n_speakers=2).checkpoint()
    checkpoint["config"][-3] = 109
    assert load_voice(_save(tmp_path, checkpoint)).n_speakers == 2


@pytest.mark.parametrize("label", ["40k", "40000", 40_000, "40khz", "40 kHz", None, "32k"])
@pytest.mark.parametrize("stated", [40_000, "40k", "40000", 48_000])
def test_the_sample_rate_is_understood_in_every_spelling(
    label: Any, stated: Any, tmp_path: Path
) -> None:
    checkpoint = TinyVoice(40_000).checkpoint()
    checkpoint["sr"], checkpoint["config"][-1] = label, stated
    assert load_voice(_save(tmp_path, checkpoint)).sample_rate == 40_000


@pytest.mark.parametrize(
    ("value", "hertz"),
    [("48k", 48_000), ("44.1kHz", 44_100), (32, 32_000), ("x", None), (None, None), (-1, None)],
)
def test_sample_rates_are_parsed(value: Any, hertz: int | None) -> None:
    assert parse_sample_rate(value) == hertz


@pytest.mark.parametrize("uses_f0", [True, False])
@pytest.mark.parametrize("sample_rate", [24_000, 32_000, 40_000, 48_000])
def test_a_missing_config_is_inferred(sample_rate: int, uses_f0: bool, tmp_path: Path) -> None:
    tiny = TinyVoice(sample_rate, uses_f0)
    checkpoint = tiny.checkpoint()
    del checkpoint["config"]
    assert load_voice(_save(tmp_path, checkpoint)).config == tiny.config()


def test_a_config_copied_from_another_voice_is_not_believed(tmp_path: Path) -> None:
    checkpoint = TinyVoice(40_000, uses_f0=False).checkpoint()
    checkpoint["config"] = recipe.voice_config("v2", "48k")
    assert load_voice(_save(tmp_path, checkpoint)).config.generator.upsample_rates == (10, 10, 2, 2)


def test_kernels_of_two_rates_are_told_apart_by_the_label(tmp_path: Path) -> None:
    shapes = recipe.load_manifest()["synth"]["v1_48k_nof0"]
    state = {name: torch.zeros(tuple(shape)) for name, shape in shapes.items()}
    path = _save(tmp_path, {"weight": state, "sr": "48k"})
    assert load_voice(path).config.generator.upsample_rates == (10, 6, 2, 2, 2)
    path = _save(tmp_path, {"weight": state})
    with pytest.raises(InvalidCheckpoint, match="upsampling rates"):
        load_voice(path)


@pytest.mark.parametrize("voice", ["v1_32k_f0", "v1_48k_f0", "v2_32k_nof0", "v2_48k_f0"])
def test_stock_layouts_are_read_without_any_metadata_but_the_label(
    voice: str, tmp_path: Path
) -> None:
    version, rate, f0 = voice.split("_")
    shapes = recipe.load_manifest()["synth"][voice]
    state = {name: torch.zeros(tuple(shape)) for name, shape in shapes.items()}
    loaded = load_voice(_save(tmp_path, {"weight": state, "sr": rate}))
    assert (loaded.facts.version, loaded.sample_rate) == (version, recipe.SAMPLE_RATES[rate])
    assert (loaded.uses_f0, loaded.n_speakers) == (f0 == "f0", 109)
    assert (loaded.config.n_heads, loaded.config.n_layers) == (2, 6)


def test_the_training_only_encoder_may_be_there(tmp_path: Path) -> None:
    checkpoint = TinyVoice().checkpoint()
    checkpoint["weight"]["enc_q.pre.weight"] = torch.ones(1)
    load_voice(_save(tmp_path, checkpoint))


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_any_other_difference_is_refused(change: str, tmp_path: Path) -> None:
    checkpoint = TinyVoice().checkpoint()
    if change == "missing":
        del checkpoint["weight"]["dec.conv_post.weight"]
    else:
        checkpoint["weight"]["dec.conv_last.weight"] = torch.ones(1)
    with pytest.raises(InvalidCheckpoint, match=r"dec\.conv_(post|last)\.weight"):
        load_voice(_save(tmp_path, checkpoint))


@pytest.mark.parametrize(
    ("prefix", "vocoder"),
    [("dec.mrfs.0.x", "MRF HiFi-GAN"), ("dec.upsample_conv_blocks.0.x", "RefineGAN")],
)
def test_foreign_vocoders_are_refused_by_name(prefix: str, vocoder: str, tmp_path: Path) -> None:
    checkpoint = TinyVoice().checkpoint()
    checkpoint["weight"][prefix] = torch.ones(1)
    with pytest.raises(UnsupportedVocoder, match=vocoder):
        load_voice(_save(tmp_path, checkpoint))


def test_a_stated_foreign_vocoder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedVocoder, match="BigVGAN"):
        TinyVoice(extras={"vocoder": "BigVGAN"}).load(tmp_path)
    assert TinyVoice(extras={"vocoder": "HiFi-GAN"}).load(tmp_path)


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        ({"model": {"enc_p.x": 1, "enc_q.x": 1}, "optimizer": {}}, TrainingCheckpoint, "G_"),
        ({"model": {"discriminators.0.x": 1}}, TrainingCheckpoint, "discriminator"),
        ({"unet.encoder.bn.weight": torch.ones(1)}, InvalidCheckpoint, "RMVPE"),
        ({"encoder.layers.0.x": torch.ones(1)}, InvalidCheckpoint, "HuBERT"),
        ({"weight": {"unet.x": torch.ones(1)}}, InvalidCheckpoint, "RMVPE"),
        ({"a": 1, "b": 2}, InvalidCheckpoint, "holds a, b"),
        ([1, 2], InvalidCheckpoint, "holds a list"),
        ({"weight": {"enc_p.x": "text"}}, InvalidCheckpoint, "no tensor"),
        ({"weight": {"enc_p.x": torch.ones(1)}}, InvalidCheckpoint, "lacks"),
    ],
)
def test_files_that_are_no_voice_are_named(
    content: Any, error: type[Exception], says: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        load_voice(_save(tmp_path, content))


def test_a_voice_may_state_its_encoder_its_median_its_card_and_defaults(tmp_path: Path) -> None:
    voice = TinyVoice(
        extras={
            "content": "whisper-tiny.en:2+4",
            "f0_median": 89.0,
            "card": {"licence": "MIT"},
            "defaults": {"noise_scale": "0.4", "auto_transpose": True},
        }
    ).load(tmp_path)
    assert (voice.facts.content, voice.facts.f0_median) == ("whisper-tiny.en:2+4", 89.0)
    assert voice.facts.card == {"licence": "MIT"}
    assert voice.facts.defaults == {"noise_scale": 0.4, "auto_transpose": True}


@pytest.mark.parametrize("defaults", [{"protect": 0.1}, {"noise_scale": 99}])
def test_defaults_that_a_voice_may_not_set_are_refused(
    defaults: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InvalidCheckpoint, match="default"):
        TinyVoice(extras={"defaults": defaults}).load(tmp_path)


@pytest.mark.parametrize("name", ["../../secret", "/abs", "a b", ""])
def test_an_encoder_name_cannot_leave_the_models_folder(name: str, tmp_path: Path) -> None:
    tiny = TinyVoice(extras={"embedder_model": name})
    if name == "":
        assert tiny.load(tmp_path).facts.embedder == "hubert_base"
        return
    with pytest.raises(InvalidCheckpoint, match="plain name"):
        tiny.load(tmp_path)


@pytest.mark.parametrize(
    ("stated", "folder"), [("contentvec", "hubert_base"), ("spin-v2", "spin-v2")]
)
def test_another_embedder_is_remembered(stated: str, folder: str, tmp_path: Path) -> None:
    assert TinyVoice(extras={"embedder_model": stated}).load(tmp_path).facts.embedder == folder


def test_a_safetensors_voice_is_the_same_voice(tmp_path: Path) -> None:
    tiny = TinyVoice(40_000)
    path = tmp_path / "voice.safetensors"
    metadata = {"sample_rate": "40000", "config_json": json.dumps(tiny.checkpoint()["config"])}
    save_file(tiny.checkpoint()["weight"], path, metadata)
    expected, voice = tiny.load(tmp_path), load_voice(path)
    assert voice.config == expected.config
    for key, tensor in voice.synthesizer.state_dict().items():
        assert torch.equal(tensor, expected.synthesizer.state_dict()[key])


def test_entries_of_a_ddpn_voice_are_read(tmp_path: Path) -> None:
    checkpoint = TinyVoice(22_050).checkpoint()
    checkpoint["config"].append(768)  # the width of the content features
    assert load_voice(_save(tmp_path, checkpoint)).sample_rate == 22_050
