"""Content encoders: 16 kHz audio to features of what is said, 50 frames a second."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rvc_core.errors import ContentEncoderMismatch, InvalidWeights, MissingWeights
from rvc_core.token import check_current
from rvc_core.voice import HUBERT, VoiceFacts
from rvc_core.weights import (
    fold_weight_norm,
    load_strictly,
    module_bytes,
    read_safetensors,
    read_torch_file,
)

CONTENT_SAMPLE_RATE = 16_000
CONTENT_FRAME_RATE = 50
V1_DIM, V1_LAYER = 256, 9
V2_DIM = 768
_EXPECTED_CONFIG = {"hidden_size": 768, "num_hidden_layers": 12, "do_stable_layer_norm": False}
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


class ContentEncoder(Protocol):
    """What a voice needs of a content encoder; `name` is what voices call it."""

    name: str

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        ...

    def encode(self, samples: Tensor, content_dim: int) -> Tensor:
        """Features (frames, content_dim) of `samples` (n,) at 16 kHz."""
        ...

    def to(self, device: str) -> None:
        """Move the weights."""
        ...


class HubertEncoder:
    """HuBERT or ContentVec: layer 9 through `final_proj` for v1 voices, layer 12 for v2."""

    name = HUBERT

    def __init__(self, network: nn.Module, final_proj: nn.Linear | None) -> None:
        self._network = network
        self._final_proj = final_proj

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        projection = module_bytes(self._final_proj) if self._final_proj else 0
        return module_bytes(self._network) + projection

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """What holds the weights."""
        return (self._network,) if self._final_proj is None else (self._network, self._final_proj)

    def to(self, device: str) -> None:
        """Move the weights."""
        self._network.to(device)
        if self._final_proj is not None:
            self._final_proj.to(device)

    @torch.inference_mode()
    def encode(self, samples: Tensor, content_dim: int) -> Tensor:
        """Features (frames, content_dim) of `samples` (n,) at 16 kHz; not normalised, as upstream.

        There are floor((n - 400) / 320) + 1 frames.
        """
        if content_dim == V2_DIM:
            layers = self._layers(samples, None)
            return layers[-1][0]
        if content_dim != V1_DIM or self._final_proj is None:
            raise ContentEncoderMismatch(
                f"This content encoder gives no features of width {content_dim}."
                + (" It lacks final_proj, which v1 voices need." if content_dim == V1_DIM else "")
            )
        layers = self._layers(samples, V1_LAYER)
        return torch.as_tensor(self._final_proj(layers[-1][0]))

    def _layers(self, samples: Tensor, n_layers: int | None) -> list[Tensor]:
        """Outputs (1, frames, 768) of the first `n_layers` layers, all if None."""
        extract: Callable[..., tuple[list[Tensor], Tensor | None]]
        extract = self._network.extract_features  # type: ignore[assignment]
        return extract(samples[None], num_layers=n_layers)[0]


def load_content_encoder(path: Path, device: str = "cpu") -> ContentEncoder:
    """Load a transformers folder of HuBERT, or the Whisper encoder from a `.safetensors` file."""
    if path.is_dir():
        return load_hubert(path, device)
    from rvc_core.whisper import load_whisper_encoder

    return load_whisper_encoder(path, device)


def find_content_encoder(models: Path, voice: VoiceFacts) -> Path:
    """Where the content encoder of `voice` lies in a models folder."""
    folder = models / "content"
    if voice.content == HUBERT:
        return folder / voice.embedder
    return folder / (voice.content.split(":")[0] + ".safetensors")


def load_hubert(folder: Path, device: str = "cpu") -> HubertEncoder:
    """Load HuBERT base in float32 from a folder that transformers would read."""
    from torchaudio.models import hubert_base

    _check_config(folder)
    path = next((folder / n for n in _WEIGHT_FILES if (folder / n).is_file()), None)
    if path is None:
        raise MissingWeights(f"{folder} holds neither {' nor '.join(_WEIGHT_FILES)}.")
    content = read_safetensors(path)[0] if path.suffix == ".safetensors" else read_torch_file(path)
    state, projection = _to_torchaudio(content, path)
    with torch.device("meta"):
        network = hubert_base()
    convolution = network.encoder.transformer.pos_conv_embed.conv
    nn.utils.parametrize.remove_parametrizations(convolution, "weight")  # the state is folded
    load_strictly(network, state, path.name, InvalidWeights)
    network.eval().to(device)
    for module in network.modules():
        module.register_forward_pre_hook(_before_module)
    return HubertEncoder(network, _linear(projection, path, device) if projection else None)


def _before_module(*_: Any) -> None:
    check_current()  # the network is not ours, so it cannot call this itself


def _check_config(folder: Path) -> None:
    try:
        config = json.loads((folder / "config.json").read_text())
    except FileNotFoundError:
        raise MissingWeights(
            f"There is no content encoder at {folder}: it lacks config.json.", value=str(folder)
        ) from None
    except ValueError:
        raise InvalidWeights(f"{folder}/config.json is no JSON.") from None
    for key, expected in _EXPECTED_CONFIG.items():
        if config.get(key, expected) != expected:
            raise InvalidWeights(
                f"{folder}: {key} is {config[key]}; HuBERT base has {expected}.", value=config[key]
            )


def _to_torchaudio(content: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights under torchaudio's keys, and those of `final_proj` apart."""
    if not isinstance(content, Mapping):
        raise InvalidWeights(f"{path.name} holds no weights by name.")
    folded = fold_weight_norm({k: v for k, v in content.items() if isinstance(v, Tensor)})
    network, projection = {}, {}
    for key, tensor in folded.items():
        key = key.removeprefix("hubert.")
        if key.startswith("final_proj."):
            projection[key.removeprefix("final_proj.")] = tensor
        elif key == "masked_spec_embed" or key.startswith("label_embeddings"):
            continue  # training only
        elif key.startswith("feature_projection."):
            network[f"encoder.{key}"] = tensor
        else:
            network[key.replace("encoder.", "encoder.transformer.", 1)] = tensor
    return network, projection


def _linear(state: dict[str, Tensor], path: Path, device: str) -> nn.Linear:
    with torch.device("meta"):
        linear = nn.Linear(V2_DIM, V1_DIM)
    load_strictly(linear, state, f"{path.name}: final_proj", InvalidWeights)
    return linear.to(device)
