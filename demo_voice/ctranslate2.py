"""Reader of a Whisper model in CTranslate2's `model.bin`, as far as the encoder needs it."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

Variables = dict[str, NDArray[np.generic]]

_VERSIONS = (4, 5, 6)  # those that store a type number with each variable
_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)

# ours, CTranslate2's
_MODULES = (("conv1", "conv1"), ("conv2", "conv2"), ("norm", "layer_norm"))
_BLOCK_MODULES = (
    ("attention_norm", "self_attention/layer_norm"),
    ("query_key_value", "self_attention/linear_0"),
    ("attention_out", "self_attention/linear_1"),
    ("mlp_norm", "ffn/layer_norm"),
    ("mlp_in", "ffn/linear_0"),
    ("mlp_out", "ffn/linear_1"),
)


class _Cursor:
    """Reads little-endian values one after another."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from("<" + kind, self._data, self._at)
        self._at += struct.calcsize("<" + kind)
        return int(value)

    def take(self, n_bytes: int) -> memoryview:
        start, self._at = self._at, self._at + n_bytes
        return self._data[start : self._at]

    def text(self) -> str:
        """A text stored with its length, which counts a closing zero."""
        return bytes(self.take(self.number("H"))).rstrip(b"\0").decode()


def read_variables(model_bin: bytes) -> Variables:
    """Read all variables by name; raise `ValueError` for a version of another layout."""
    cursor = _Cursor(model_bin)
    version = cursor.number("I")
    if version not in _VERSIONS:
        raise ValueError(f"version {version} of model.bin is unknown")
    cursor.text()  # the model's kind
    cursor.number("I")  # and its revision
    return dict(_read_variable(cursor) for _ in range(cursor.number("I")))


def _read_variable(cursor: _Cursor) -> tuple[str, NDArray[np.generic]]:
    name = cursor.text()
    shape = [cursor.number("I") for _ in range(cursor.number("B"))]
    kind = _TYPES[cursor.number("B")]
    data = cursor.take(cursor.number("I"))
    return name, np.frombuffer(data, kind).reshape(shape)


def whisper_encoder_weights(variables: Variables) -> Variables:
    """Rename the encoder's variables; the sinusoidal position table is left out."""
    names = list(_MODULES)
    n_blocks = sum(name.endswith("/ffn/linear_0/weight") for name in _encoder_names(variables))
    for block in range(n_blocks):
        names += [
            (f"blocks.{block}.{ours}", f"layer_{block}/{his}") for ours, his in _BLOCK_MODULES
        ]
    weights: Variables = {}
    for ours, theirs in names:
        is_norm = theirs.endswith("layer_norm")
        kinds = ("gamma", "beta") if is_norm else ("weight", "bias")
        weights[f"{ours}.weight"] = variables[f"encoder/{theirs}/{kinds[0]}"]
        weights[f"{ours}.bias"] = variables[f"encoder/{theirs}/{kinds[1]}"]
    return weights


def _encoder_names(variables: Variables) -> list[str]:
    return [name for name in variables if name.startswith("encoder/")]
