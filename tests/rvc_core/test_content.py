"""Content encoders from folders that are incomplete, foreign or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rvc_core.content import find_content_encoder, load_content_encoder
from rvc_core.errors import InvalidWeights, MissingWeights
from tests.rvc_core.tiny import TinyVoice

BASE = {"hidden_size": 768, "num_hidden_layers": 12}


def _folder(path: Path, config: dict[str, Any] | None, weights: Any = None) -> Path:
    path.mkdir()
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    if weights is not None:
        torch.save(weights, path / "pytorch_model.bin")
    return path


def test_a_folder_without_config_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"config\.json"):
        load_content_encoder(_folder(tmp_path / "hubert", None))


def test_a_folder_without_weights_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"pytorch_model\.bin"):
        load_content_encoder(_folder(tmp_path / "hubert", BASE))


def test_another_size_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InvalidWeights, match="num_hidden_layers is 24; HuBERT base has 12"):
        load_content_encoder(_folder(tmp_path / "hubert", {**BASE, "num_hidden_layers": 24}))


@pytest.mark.parametrize("weights", [[1], {"encoder.x": torch.ones(1)}])
def test_foreign_weights_are_refused(weights: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidWeights):
        load_content_encoder(_folder(tmp_path / "hubert", BASE, weights))


def test_a_config_that_is_no_json_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "hubert", BASE)
    (folder / "config.json").write_text("{")
    with pytest.raises(InvalidWeights, match="no JSON"):
        load_content_encoder(folder)


@pytest.mark.parametrize(
    ("extras", "place"),
    [
        ({}, "content/hubert_base"),
        ({"embedder_model": "spin"}, "content/spin"),
        ({"content": "whisper-tiny.en:2+4"}, "content/whisper-tiny.en.safetensors"),
    ],
)
def test_the_voice_says_which_encoder_it_needs(
    extras: dict[str, Any], place: str, tmp_path: Path
) -> None:
    voice = TinyVoice(extras=extras).load(tmp_path)
    assert find_content_encoder(tmp_path, voice.facts) == tmp_path / place
