"""A voice, ready to synthesize: its network and what its file says about it."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rvc_core.checkpoint import VoiceFile, read_voice_file
from rvc_core.errors import InvalidCheckpoint, InvalidOption
from rvc_core.layout import read_layout
from rvc_core.library import file_hash
from rvc_core.options import OPTION_SPECS
from rvc_core.synthesizer import Synthesizer, SynthesizerConfig
from rvc_core.weights import (
    fold_weight_norm,
    folded_shapes,
    load_strictly,
    module_bytes,
    without_weights,
)

HUBERT = "hubert"
_VERSIONS = {256: "v1", 768: "v2"}  # by width of the content features
_PLAIN_NAME = re.compile(r"\w[\w.:+-]*")
_CONTENTVEC_NAMES = ("", "contentvec", "hubert", "hubert_base")


@dataclass(frozen=True)
class VoiceFacts:
    """What a voice's file says; `content` names the content encoder it was trained on.

    `embedder` is the folder of that encoder's weights where it is not ContentVec. `defaults`
    holds this voice's values of options that were left unset.
    """

    name: str
    config: SynthesizerConfig
    content: str = HUBERT
    embedder: str = "hubert_base"
    f0_median: float | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """v1 or v2, told by the width of the content features."""
        return _VERSIONS[self.config.content_dim]


@dataclass
class Voice:
    """An RVC voice, ready to synthesize. Only `to` changes it."""

    facts: VoiceFacts
    synthesizer: Synthesizer
    content_hash: str  # SHA-256 of the file
    fast_dtype: torch.dtype | None = None  # of the copy for precision "fast"; None: there is none
    _fast: Synthesizer | None = None

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.facts.name

    @property
    def config(self) -> SynthesizerConfig:
        """Layout of the network."""
        return self.facts.config

    @property
    def sample_rate(self) -> int:
        """Hz of what the voice synthesizes."""
        return self.config.sample_rate

    @property
    def uses_f0(self) -> bool:
        """Whether the voice follows a pitch curve."""
        return self.config.uses_f0

    @property
    def n_speakers(self) -> int:
        """Number of speakers; ids start at 0."""
        return self.config.n_speakers

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        copies = [self.synthesizer] + ([self._fast] if self._fast is not None else [])
        return sum(module_bytes(network) for network in copies)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """What holds the weights."""
        return (self.synthesizer,)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.synthesizer.emb_g.weight.device

    def to(self, device: str) -> None:
        """Move the weights."""
        self.synthesizer.to(device)
        self._fast = None
        self.fast_dtype = torch.float16 if torch.device(device).type == "cuda" else None

    def network(self, precision: str) -> Synthesizer:
        """The network for a `precision`: float32 for "exact", 16-bit for "fast" where it pays."""
        if precision == "exact" or self.fast_dtype is None:
            return self.synthesizer
        if self._fast is None:
            self._fast = copy.deepcopy(self.synthesizer).to(self.fast_dtype)
        return self._fast


def read_voice_facts(path: Path) -> VoiceFacts:
    """What a `.pth` or `.safetensors` voice says, without loading its weights into memory."""
    return _facts(read_voice_file(path), path)


def load_voice(path: Path, device: str = "cpu") -> Voice:
    """Load a `.pth` or `.safetensors` voice in float32; raise `InvalidCheckpoint` if it is none."""
    file = read_voice_file(path)
    facts = _facts(file, path)
    with without_weights():
        synthesizer = Synthesizer(facts.config)
    load_strictly(synthesizer, fold_weight_norm(file.state), path.name, InvalidCheckpoint)
    synthesizer.dec.put_channels_innermost()
    voice = Voice(facts, synthesizer.eval(), file_hash(path))
    voice.to(device)
    return voice


def _facts(file: VoiceFile, path: Path) -> VoiceFacts:
    config = read_layout(folded_shapes(file.state), file.config, file.metadata.get("sr"))
    if config.content_dim not in _VERSIONS:
        raise InvalidCheckpoint(
            f"{path.name} takes content features of width {config.content_dim}; "
            "known are 256 (v1) and 768 (v2)."
        )
    return VoiceFacts(path.stem, config, **_stated(file, path.name))


def _stated(file: VoiceFile, name: str) -> dict[str, Any]:
    """What the metadata says, checked, as arguments of `VoiceFacts`."""
    metadata = file.metadata
    stated: dict[str, Any] = {}
    for field_name, value in (
        ("content", metadata.get("content")),
        ("embedder", metadata.get("embedder_model", metadata.get("embedder_name"))),
    ):
        if isinstance(value, str) and value.lower() not in _CONTENTVEC_NAMES:
            if not _PLAIN_NAME.fullmatch(value):  # it becomes part of a path
                raise InvalidCheckpoint(f"{name}: {field_name} {value[:40]!r} is no plain name.")
            stated[field_name] = value
    median = metadata.get("f0_median")
    if isinstance(median, (int, float)) and 20 < median < 2000:
        stated["f0_median"] = float(median)
    card = metadata.get("card")
    if isinstance(card, Mapping):
        stated["card"] = {str(key): str(value) for key, value in card.items()}
    stated["defaults"] = _checked_defaults(metadata.get("defaults"), name)
    return stated


def _checked_defaults(given: Any, name: str) -> dict[str, Any]:
    """A voice may set the options that can be left unset, and no others."""
    if not isinstance(given, Mapping):
        return {}
    specs = {spec.name: spec for spec in OPTION_SPECS if spec.optional}
    unknown = sorted(str(key) for key in given if key not in specs)
    if unknown:
        raise InvalidCheckpoint(f"{name} sets a default of {unknown[0]}, which voices may not.")
    try:
        return {key: specs[key].check(value) for key, value in given.items()}
    except InvalidOption as error:
        raise InvalidCheckpoint(f"{name}, default: {error.message}") from None
