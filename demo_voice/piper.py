"""Flow and decoder of a Piper voice (ONNX), under the names that an RVC voice gives them.

Both are the VITS parts that RVC uses too, so the weights fit as they are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_PARTS = ("/flow/", "/dec/")


def read_flow_and_decoder(onnx_bytes: bytes) -> Weights:
    """Read the weights of every convolution in flow and decoder, weight norm already folded."""
    import onnx

    graph = onnx.load_model_from_string(onnx_bytes).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    weights: Weights = {}
    for node in graph.node:
        if node.op_type in _CONVOLUTIONS and node.name.startswith(_PARTS):
            # "/dec/ups.0/ConvTranspose" is the module "dec.ups.0"
            module = node.name.strip("/").rpartition("/")[0].replace("/", ".")
            for kind, name in zip(("weight", "bias"), node.input[1:], strict=False):
                weights[f"{module}.{kind}"] = onnx.numpy_helper.to_array(tensors[name])
    return weights


def neutral_additions(config: list[Any], flow: Weights) -> Weights:
    """What an RVC voice has and a Piper voice has not, as zeros that change nothing.

    That is the speaker embedding with all that it conditions, and the decoder's sine source.
    """
    rates, channels, speakers, speaker_dim = config[12], config[13], config[15], config[16]
    additions = {
        "emb_g.weight": _zeros(speakers, speaker_dim),
        "dec.cond.weight": _zeros(channels, speaker_dim, 1),
        "dec.cond.bias": _zeros(channels),
        "dec.m_source.l_linear.weight": _zeros(1, 1),
        "dec.m_source.l_linear.bias": _zeros(1),
    }
    for stage in range(len(rates)):
        stride = math.prod(rates[stage + 1 :])
        width = channels >> (stage + 1)
        kernel = 1 if stride == 1 else 2 * stride
        additions[f"dec.noise_convs.{stage}.weight"] = _zeros(width, 1, kernel)
        additions[f"dec.noise_convs.{stage}.bias"] = _zeros(width)
    return additions | _neutral_flow_conditioning(flow, speaker_dim)


def _neutral_flow_conditioning(flow: Weights, speaker_dim: int) -> Weights:
    wavenets = {key.partition(".in_layers.")[0] for key in flow if ".in_layers." in key}
    neutral: Weights = {}
    for wavenet in sorted(wavenets):
        layers = [key for key in flow if key.startswith(f"{wavenet}.in_layers.")]
        gates = sum(len(flow[key]) for key in layers if key.endswith(".bias"))
        neutral[f"{wavenet}.cond_layer.weight"] = _zeros(gates, speaker_dim, 1)
        neutral[f"{wavenet}.cond_layer.bias"] = _zeros(gates)
    return neutral


def _zeros(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)
