"""Random weights in the formats that RVC reads, the same on every machine.

Names and shapes come from the manifest (facts about the formats), values from RandomState, whose
streams NumPy never changes. Scales are chosen so that signals neither vanish nor explode.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

DATA = Path(__file__).parent.parent / "data" / "parity"
BASE_SEED = 20261121
SAMPLE_RATES = {"32k": 32_000, "40k": 40_000, "48k": 48_000}
UPSAMPLING = {  # rates, kernels, bins of the training spectrogram
    ("v1", "32k"): ([10, 4, 2, 2, 2], [16, 16, 4, 4, 4], 513),
    ("v1", "40k"): ([10, 10, 2, 2], [16, 16, 4, 4], 1025),
    ("v1", "48k"): ([10, 6, 2, 2, 2], [16, 16, 4, 4, 4], 1025),
    ("v2", "32k"): ([10, 8, 2, 2], [20, 16, 4, 4], 513),
    ("v2", "40k"): ([10, 10, 2, 2], [16, 16, 4, 4], 1025),
    ("v2", "48k"): ([12, 10, 2, 2], [24, 20, 4, 4], 1025),
}
HUBERT_CONFIG = {
    "model_type": "hubert",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "classifier_proj_size": 256,
    "do_stable_layer_norm": False,
    "feat_extract_norm": "group",
}


def load_manifest() -> dict[str, Any]:
    """Shapes by name: `hubert`, `rmvpe`, and `synth` by voice."""
    with gzip.open(DATA / "manifest.json.gz", "rt") as file:
        return cast("dict[str, Any]", json.load(file))


def voice_config(version: str, rate: str) -> list[Any]:
    """The 18 entries of a checkpoint's `config`."""
    rates, kernels, bins = UPSAMPLING[version, rate]
    dilations = [[1, 3, 5]] * 3
    layers = [bins, 32, 192, 192, 768, 2, 6, 3, 0, "1", [3, 7, 11], dilations]
    return [*layers, rates, 512, kernels, 109, 256, SAMPLE_RATES[rate]]


def voice_state(voice: str, manifest: dict[str, Any]) -> dict[str, Array]:
    """Weights of a voice such as `v2_40k_f0`, in float16 as checkpoints store them."""
    shapes = {name: tuple(shape) for name, shape in manifest["synth"][voice].items()}
    return {name: _voice_tensor(voice, name, shapes).astype(np.float16) for name in shapes}


def hubert_state(manifest: dict[str, Any]) -> dict[str, Array]:
    """Weights of HuBERT base with `final_proj`, in float32."""
    return {name: _hubert_tensor(name, tuple(s)) for name, s in manifest["hubert"].items()}


def rmvpe_state(manifest: dict[str, Any]) -> dict[str, Array]:
    """Weights of RMVPE, in float16 but for the counters of its batch norms."""
    state = {}
    for name, shape in manifest["rmvpe"].items():
        tensor = _rmvpe_tensor(name, tuple(shape))
        state[name] = tensor if tensor.dtype == np.int64 else tensor.astype(np.float16)
    return state


def index_vectors(count: int, dim: int) -> Array:
    """Clustered vectors at the scale of layer-normed features."""
    random = _random(f"index:{count}:{dim}")
    centres = random.standard_normal((200, dim))
    picked = centres[random.randint(0, 200, count)]
    spread = random.standard_normal((count, dim))
    return np.asarray(0.6 * picked + 0.5 * spread, np.float32)


def _random(tag: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(f"{BASE_SEED}:{tag}".encode()))


def _normal(tag: str, shape: Shape) -> Array:
    return np.asarray(_random(tag).standard_normal(shape), np.float32)


def _root_of_fan_in(shape: Shape) -> float:
    """Dividing by it keeps the level of a signal through a layer."""
    return math.sqrt(int(np.prod(shape[1:])) if len(shape) > 1 else int(shape[0]))


def _voice_tensor(voice: str, name: str, shapes: dict[str, Shape]) -> Array:
    shape = shapes[name]
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "weight_g":
        direction = _voice_tensor(voice, name[:-1] + "v", shapes).astype(np.float64)
        axes = tuple(range(1, direction.ndim))
        norm = np.sqrt((direction**2).sum(axis=axes, keepdims=True))
        gain = 1.4 if name.startswith("dec.ups.") else 0.45 if "resblocks" in name else 1.0
        return np.asarray(gain * norm, np.float32)
    if name == "dec.m_source.l_linear.weight":
        return np.full(shape, 1.5, np.float32)
    normal = _normal(f"{voice}:{name}", shape)
    if leaf == "gamma":
        return 1 + 0.1 * normal
    if name.startswith("dec.ups.") and leaf == "weight_v":  # (in, out, kernel), transposed
        return normal / math.sqrt(shape[0] * 2)
    factor = _voice_factor(name, leaf, shape)
    if factor is not None:
        return normal * factor
    return _voice_gain(name, leaf) * normal / _root_of_fan_in(shape)


def _voice_factor(name: str, leaf: str, shape: Shape) -> float | None:
    """Standard deviation of tensors whose scale does not follow from their fan in."""
    by_name = {"emb_g.weight": 1.0, "enc_p.emb_pitch.weight": 0.3}
    by_leaf = {"beta": 0.05, "bias": 0.05}
    if leaf.startswith("emb_rel_"):
        return cast("float", shape[-1] ** -0.5)
    return by_name.get(name, by_leaf.get(leaf))


def _voice_gain(name: str, leaf: str) -> float:
    gains = {
        r"enc_p\.proj\.": 0.7,
        r"dec\.noise_convs": 3.0,
        r"dec\.conv_post": 0.35,
        r"flow\..*\.post\.": 0.5,
    }
    matching = [gain for pattern, gain in gains.items() if re.match(pattern, name)]
    return matching[0] if matching and leaf != "weight_v" else 1.0


def _hubert_tensor(name: str, shape: Shape) -> Array:
    normal = _normal("hubert:" + name, shape)
    leaf = name.rsplit(".", 1)[-1]
    if name.endswith("parametrizations.weight.original0"):
        return 1 + 0.1 * normal
    if "layer_norm" in name:
        return 1 + 0.1 * normal if leaf == "weight" else 0.1 * normal
    if leaf == "masked_spec_embed":
        return normal
    if leaf == "bias":
        return 0.05 * normal
    gain = 1.4 if "feature_extractor" in name else 1.0
    return gain * normal / _root_of_fan_in(shape)


def _rmvpe_tensor(name: str, shape: Shape) -> Array:
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.array(1, np.int64)
    if name == "fc.1.bias":  # about half of the frames are voiced
        bins = np.arange(360, dtype=np.float64)
        return (-2.95 - ((bins - 150.0) / 70.0) ** 2).astype(np.float32)
    normal = _normal("rmvpe:" + name, shape)
    if leaf == "running_var":
        return 1 + 0.1 * np.abs(normal)
    if len(shape) == 1 and leaf == "weight":  # of a batch norm
        return (0.25 if ".conv.4.w" in name else 1.0) * (1 + 0.1 * normal)
    if leaf in ("running_mean", "bias") or "bias_" in leaf:
        return 0.05 * normal
    if name == "fc.1.weight":
        return _smooth_over_bins(normal.astype(np.float64), shape)
    if "weight_ih" in leaf or "weight_hh" in leaf:
        return 0.7 * normal / math.sqrt(shape[1])
    if name.endswith("conv1.0.weight"):  # (in, out, 3, 3), transposed
        return normal / math.sqrt(shape[0] * 9 / 2)
    fan_in = math.sqrt(int(np.prod(shape[1:])))
    return (0.1 * normal if name == "cnn.weight" else normal) / fan_in


def _smooth_over_bins(normal: Array, shape: Shape) -> Array:
    """Neighbouring pitch bins share weights, so that the salience has one smooth peak."""
    bins = np.arange(360, dtype=np.float64)
    kernel = np.exp(-0.5 * ((bins[:, None] - bins[None, :]) / 14.0) ** 2)
    kernel /= np.sqrt((kernel**2).sum(1, keepdims=True))
    return np.asarray(4.0 * (kernel @ normal) / math.sqrt(shape[1]), np.float32)
