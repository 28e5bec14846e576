"""The reader of CTranslate2's `model.bin`, on a file written by hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from demo_voice.ctranslate2 import Variables, read_variables, whisper_encoder_weights


def text(value: str) -> bytes:
    data = value.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def variable(name: str, kind: int, values: NDArray[np.generic]) -> bytes:
    shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
    return text(name) + shape + struct.pack("<BI", kind, values.nbytes) + values.tobytes()


def model_bin(*variables: bytes, version: int = 6) -> bytes:
    head = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<I", 3)
    aliases = struct.pack("<I", 0)
    return head + struct.pack("<I", len(variables)) + b"".join(variables) + aliases


def test_variables_keep_name_shape_type_and_values() -> None:
    matrix = np.arange(6, dtype=np.float16).reshape(2, 3)
    scalar = np.array(7, np.int16)
    read = read_variables(model_bin(variable("a/b", 4, matrix), variable("heads", 2, scalar)))
    assert list(read) == ["a/b", "heads"]
    for name, expected in (("a/b", matrix), ("heads", scalar)):
        assert read[name].dtype == expected.dtype
        np.testing.assert_array_equal(read[name], expected)


@pytest.mark.parametrize("version", [3, 7])
def test_a_version_of_another_layout_is_refused(version: int) -> None:
    with pytest.raises(ValueError, match=f"version {version}"):
        read_variables(model_bin(version=version))


def test_the_encoder_gets_our_names_and_the_decoder_is_left_out() -> None:
    names = ["conv1/weight", "conv1/bias", "conv2/weight", "conv2/bias"]
    names += ["layer_norm/gamma", "layer_norm/beta", "position_encodings/encodings"]
    for layer in ("self_attention", "ffn"):
        names += [f"layer_0/{layer}/layer_norm/{kind}" for kind in ("gamma", "beta")]
        for linear in ("linear_0", "linear_1"):
            names += [f"layer_0/{layer}/{linear}/{kind}" for kind in ("weight", "bias")]
    values: Variables = {f"encoder/{name}": np.zeros(1, np.float32) for name in names}
    values["decoder/layer_0/ffn/linear_0/weight"] = np.zeros(1, np.float32)
    weights = whisper_encoder_weights(values)
    assert len(weights) == 2 * (3 + 6)
    assert weights["norm.weight"] is values["encoder/layer_norm/gamma"]
    assert (
        weights["blocks.0.query_key_value.bias"]
        is values["encoder/layer_0/self_attention/linear_0/bias"]
    )
    assert weights["blocks.0.mlp_out.weight"] is values["encoder/layer_0/ffn/linear_1/weight"]
