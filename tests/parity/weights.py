"""Writes the random weights as files: a content encoder, RMVPE, voices and indexes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.parity import recipe

N_VECTORS = 20_000
N_LISTS = 512
CONTENT_DIMS = {"v1": 256, "v2": 768}


def write_hubert(folder: Path, manifest: dict[str, Any]) -> Path:
    """A folder that transformers would read."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(recipe.HUBERT_CONFIG))
    torch.save(to_tensors(recipe.hubert_state(manifest)), folder / "pytorch_model.bin")
    return folder


def write_rmvpe(path: Path, manifest: dict[str, Any]) -> Path:
    """The estimator's `rmvpe.pt`."""
    torch.save(to_tensors(recipe.rmvpe_state(manifest)), path)
    return path


def write_voices(folder: Path, voices: Iterable[str], manifest: dict[str, Any]) -> None:
    """A `.pth` for each voice, with the six entries of the official writer."""
    for voice in voices:
        torch.save(voice_checkpoint(voice, manifest), folder / f"{voice}.pth")


def voice_checkpoint(voice: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """What the official writer puts into the file of a voice such as `v2_40k_f0`."""
    version, rate, f0 = voice.split("_")
    return {
        "weight": to_tensors(recipe.voice_state(voice, manifest)),
        "config": recipe.voice_config(version, rate),
        "info": "0epoch",
        "sr": rate,
        "f0": int(f0 == "f0"),
        "version": version,
    }


def write_index(path: Path, version: str) -> Path:
    """An index as training writes it, with fixed instead of learnt centroids."""
    import faiss

    dim = CONTENT_DIMS[version]
    vectors = recipe.index_vectors(N_VECTORS, dim)
    quantizer = faiss.IndexFlatL2(dim)
    quantizer.add(vectors[:N_LISTS].copy())
    index = faiss.IndexIVFFlat(quantizer, dim, N_LISTS, faiss.METRIC_L2)
    index.nprobe = 1
    index.train(vectors[:N_LISTS])
    for start in range(0, N_VECTORS, 8192):
        index.add(vectors[start : start + 8192])
    faiss.write_index(index, str(path))
    return path


def to_tensors(state: Mapping[str, recipe.Array]) -> dict[str, torch.Tensor]:
    """The same values as torch tensors."""
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in state.items()}
