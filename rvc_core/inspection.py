"""What a file is: a voice, an index, or something that is neither, in plain facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rvc_core.errors import MissingWeights
from rvc_core.retrieval import load_index
from rvc_core.voice import HUBERT, load_voice


def inspect_file(path: Path) -> dict[str, Any]:
    """Facts about a voice or index; raise the error that says what else the file is."""
    if not path.is_file():
        raise MissingWeights(f"There is no file {path}.", value=str(path))
    if _is_index(path):
        return _index_facts(path)
    return _voice_facts(path)


def _is_index(path: Path) -> bool:
    with path.open("rb") as file:  # faiss files begin with a four-letter type such as IwFl
        return path.suffix == ".index" or file.read(2) in (b"Iw", b"Ix", b"IH")


def _index_facts(path: Path) -> dict[str, Any]:
    index = load_index(path)
    return {
        "kind": "index",
        "file": path.name,
        "bytes": path.stat().st_size,
        "content_dim": index.content_dim,
        "vectors": index.n_vectors,
        "lists": index.n_lists,
        "lists_probed": index.n_probed,
    }


def _voice_facts(path: Path) -> dict[str, Any]:
    voice = load_voice(path)  # and not its facts alone: a damaged one must not look well
    facts, config = voice.facts, voice.config
    return {
        "kind": "voice",
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": voice.content_hash,
        "version": facts.version,
        "sample_rate": voice.sample_rate,
        "f0": voice.uses_f0,
        "speakers": voice.n_speakers,
        "frame_rate": round(config.frame_rate, 3),
        "content": facts.content,
        "embedder": facts.embedder if facts.content == HUBERT else facts.content,
        "encoder_layers": config.n_layers,
        "flow_layers": config.flow_layers,
        "block_type": config.generator.block_type,
        "upsample_rates": list(config.generator.upsample_rates),
        "f0_median": facts.f0_median,
        "defaults": dict(facts.defaults),
        "card": dict(facts.card),
    }
