"""The voice's index: content frames of its training recordings, to blend in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rvc_core.errors import IndexMismatch, InvalidIndex
from rvc_core.token import check_current

Array = npt.NDArray[np.float32]

NEIGHBOURS = 8
BATCH = 256  # frames searched between two looks at the token
MAX_INDEX_BYTES = 4 << 30
_MIN_DISTANCE = 1e-12  # squared; a frame found in the index gets that neighbour alone


class FeatureIndex:
    """A faiss index over content frames; any number of threads may search it."""

    def __init__(self, index: Any, name: str) -> None:
        self._index = index
        self.name = name
        self.content_dim = int(index.d)
        self.n_vectors = int(index.ntotal)
        self.n_lists = int(getattr(index, "nlist", 1))
        self.n_probed = int(getattr(index, "nprobe", 1))

    def check_width(self, content_dim: int) -> None:
        """Raise `IndexMismatch` unless the index holds features of that width."""
        if self.content_dim != content_dim:
            raise IndexMismatch(
                f"The index {self.name} holds features of width {self.content_dim}; "
                f"the voice uses {content_dim}.",
                value=self.content_dim,
            )

    def blend(self, content: Array, index_rate: float) -> Array:
        """Mix the mean of each frame's neighbours into `content` (frames, content_dim).

        Neighbours weigh by the inverse square of their squared distance, as in official RVC.
        Frames without any neighbour in the probed lists stay as they are.
        """
        batches = []
        for start in range(0, len(content), BATCH):
            check_current()
            batches.append(self._blend_batch(content[start : start + BATCH], index_rate))
        return np.concatenate(batches)

    def _blend_batch(self, content: Array, index_rate: float) -> Array:
        distances, ids, vectors = self._index.search_and_reconstruct(content, NEIGHBOURS)
        found = ids >= 0
        weights = np.square(1 / np.maximum(distances, _MIN_DISTANCE)) * found
        total = weights.sum(axis=1, keepdims=True)
        weights /= np.where(total > 0, total, 1)
        vectors = np.where(found[:, :, None], vectors, 0)  # (frames, neighbours, content_dim)
        retrieved = np.einsum("fn,fnd->fd", weights, vectors)
        mixed = index_rate * retrieved + (1 - index_rate) * content
        blended: Array = np.where(total > 0, mixed, content).astype(np.float32)
        return blended


def load_index(path: Path) -> FeatureIndex:
    """Read a `.index` file; raise `InvalidIndex` if it cannot be searched.

    `trained_*.index` files hold no vectors: their `added_*` sibling is read instead.
    """
    index = _read(path)
    if index.ntotal == 0 and "trained" in path.name:
        sibling = path.with_name(path.name.replace("trained", "added"))
        if sibling.is_file():
            path, index = sibling, _read(sibling)
    if index.ntotal == 0:
        raise InvalidIndex(f"The index {path.name} holds no vectors.", value=str(path))
    return FeatureIndex(index, path.name)


def _read(path: Path) -> Any:
    import faiss

    if not path.is_file():
        raise InvalidIndex(f"There is no index {path}.", value=str(path))
    if path.stat().st_size > MAX_INDEX_BYTES:
        raise InvalidIndex(f"The index {path.name} is larger than {MAX_INDEX_BYTES} bytes.")
    try:
        index = faiss.read_index(str(path))
        if index.ntotal > 0:
            index.search_and_reconstruct(np.zeros((1, index.d), np.float32), 1)
    except (RuntimeError, MemoryError, AssertionError):
        raise InvalidIndex(f"{path.name} is no index that can be searched.") from None
    if index.metric_type != faiss.METRIC_L2:
        raise InvalidIndex(f"The index {path.name} does not measure by L2 distance.")
    return index
