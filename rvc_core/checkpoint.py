"""The file of a voice: the formats of RVC and its forks, and what else it may turn out to be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from rvc_core.errors import InvalidCheckpoint, TrainingCheckpoint, UnsupportedVocoder
from rvc_core.weights import read_safetensors, read_torch_file

HIFI_GAN_NAMES = ("", "default", "hifi-gan", "hifigan")
_FOREIGN_VOCODERS = {  # by prefix of keys
    "dec.mrfs.": "MRF HiFi-GAN",
    "dec.upsamples.": "MRF HiFi-GAN",
    "dec.upsample_blocks.": "RefineGAN",
    "dec.upsample_conv_blocks.": "RefineGAN",
    "dec.downsample_blocks.": "RefineGAN",
    "dec.mel_conv.": "RefineGAN",
    "dec.pre_conv.": "RefineGAN",
}
_FOREIGN_FILES = {  # by prefix of keys
    "unet.": "the weights of the F0 estimator RMVPE",
    "feature_extractor.": "the weights of a content encoder (HuBERT)",
    "encoder.layers.": "the weights of a content encoder (HuBERT)",
    "discriminators.": "a discriminator",
}


@dataclass(frozen=True)
class VoiceFile:
    """What a voice's file holds: its tensors as they are stored, `config`, the rest."""

    state: dict[str, Tensor]
    config: Sequence[Any] | None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_voice_file(path: Path) -> VoiceFile:
    """Read a `.pth` or `.safetensors` voice; raise `InvalidCheckpoint` naming what it is else."""
    if path.suffix == ".safetensors":
        tensors, texts = read_safetensors(path, InvalidCheckpoint)
        config = _parse_json(texts.get("config_json"))
        return _voice_file(path.name, tensors, config, _safetensors_metadata(texts))
    content = read_torch_file(path)
    if not isinstance(content, dict):
        raise InvalidCheckpoint(f"{path.name} holds a {type(content).__name__}, not a voice.")
    weight = content.get("weight", content.get("generator_state_dict"))
    if not isinstance(weight, Mapping) or not weight:
        raise _what_it_is(path.name, content)
    metadata: dict[str, Any] = {
        key: value for key, value in content.items() if not isinstance(value, Mapping)
    }
    for key in ("defaults", "card"):
        if isinstance(content.get(key), Mapping):
            metadata[key] = dict(content[key])
    return _voice_file(path.name, weight, content.get("config"), metadata)


def _voice_file(
    name: str, weight: Mapping[Any, Any], config: Any, metadata: Mapping[str, Any]
) -> VoiceFile:
    bad = [key for key, tensor in weight.items() if not isinstance(tensor, Tensor)]
    if bad:
        raise InvalidCheckpoint(f"{name}: {bad[0]} is no tensor.")
    _check_vocoder(name, weight, metadata)
    if not any(key.startswith("enc_p.") for key in weight):
        raise _what_it_is(name, weight)
    kept = {key: t for key, t in weight.items() if not key.startswith("enc_q.")}  # training only
    known = config if isinstance(config, (list, tuple)) else None
    return VoiceFile(kept, known, dict(metadata))


def _check_vocoder(name: str, weight: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    stated = str(metadata.get("vocoder") or "")
    found = next(
        (v for prefix, v in _FOREIGN_VOCODERS.items() if any(k.startswith(prefix) for k in weight)),
        None,
    )
    if found is None and stated.lower() not in HIFI_GAN_NAMES:
        found = stated
    if found is not None:
        raise UnsupportedVocoder(
            f"{name} has the vocoder {found}; voices with HiFi-GAN can be used.", value=found
        )


def _what_it_is(name: str, content: Mapping[Any, Any]) -> InvalidCheckpoint:
    """The error that names the kind of a file that is no voice."""
    model = content.get("model")
    if isinstance(model, Mapping):
        keys = [str(key).removeprefix("module.") for key in model]
        if any(key.startswith("discriminators.") for key in keys):
            return TrainingCheckpoint(f"{name} is a discriminator of a training run, not a voice.")
        if any(key.startswith("enc_p.") for key in keys):
            return TrainingCheckpoint(
                f"{name} is a generator checkpoint of a training run (G_*.pth), not a voice; "
                "extract a small model from it first."
            )
    keys = [str(key) for key in content]
    for prefix, kind in _FOREIGN_FILES.items():
        if any(key.startswith(prefix) for key in keys):
            return InvalidCheckpoint(f"{name} is {kind}, not a voice.")
    shown = ", ".join(sorted(keys)[:4]) or "nothing"
    return InvalidCheckpoint(f"{name} is no RVC voice: it lacks `weight` and holds {shown}.")


def _parse_json(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def _safetensors_metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Metadata under the names that `.pth` voices use; values that are JSON are parsed."""
    parsed = {key: _parse_json(value) for key, value in metadata.items()}
    values = {key: value if parsed[key] is None else parsed[key] for key, value in metadata.items()}
    if "sample_rate" in values:
        values.setdefault("sr", values["sample_rate"])
    return values
