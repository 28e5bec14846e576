"""The index: neighbours, the exact match, missing neighbours, files that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from rvc_core.errors import IndexMismatch, InvalidIndex
from rvc_core.retrieval import NEIGHBOURS, FeatureIndex, load_index

DIM = 16
VECTORS = np.random.default_rng(0).standard_normal((400, DIM)).astype(np.float32)


def ivf(vectors: Any = VECTORS, lists: int = 8) -> Any:
    quantizer = faiss.IndexFlatL2(DIM)
    quantizer.add(VECTORS[:lists].copy())
    index = faiss.IndexIVFFlat(quantizer, DIM, lists, faiss.METRIC_L2)
    index.train(VECTORS[:lists])
    if len(vectors):
        index.add(vectors)
    return index


def write(folder: Path, index: Any, name: str = "added_x.index") -> Path:
    faiss.write_index(index, str(folder / name))
    return folder / name


def test_neighbours_weigh_by_the_inverse_square_of_their_squared_distance() -> None:
    index = ivf()
    frames = np.random.default_rng(1).standard_normal((5, DIM)).astype(np.float32)
    distances, ids = index.search(frames, NEIGHBOURS)
    weights = (1 / distances) ** 2
    weights /= weights.sum(1, keepdims=True)
    expected = 0.7 * (VECTORS[ids] * weights[:, :, None]).sum(1) + 0.3 * frames
    np.testing.assert_allclose(FeatureIndex(index, "x").blend(frames, 0.7), expected, atol=1e-5)


def test_a_frame_found_in_the_index_becomes_that_vector_instead_of_nan() -> None:
    frames = VECTORS[10:12].copy()
    np.testing.assert_allclose(FeatureIndex(ivf(), "x").blend(frames, 1.0), frames, atol=1e-6)


def test_lists_with_fewer_vectors_than_neighbours_use_what_there_is() -> None:
    index = ivf(VECTORS[:3], lists=1)
    frames = np.random.default_rng(2).standard_normal((4, DIM)).astype(np.float32)
    blended = FeatureIndex(index, "x").blend(frames, 1.0)
    assert np.isfinite(blended).all()
    assert (blended >= VECTORS[:3].min(0) - 1e-5).all()
    assert (blended <= VECTORS[:3].max(0) + 1e-5).all()


def test_a_frame_whose_list_is_empty_stays_as_it_is() -> None:
    index = ivf(VECTORS[:1])  # one list of eight holds a vector
    frames = VECTORS[1:8].copy()
    np.testing.assert_array_equal(FeatureIndex(index, "x").blend(frames, 1.0), frames)


def test_the_content_given_is_not_changed() -> None:
    frames = VECTORS[:3] + 0.1
    before = frames.copy()
    FeatureIndex(ivf(), "x").blend(frames, 0.5)
    np.testing.assert_array_equal(frames, before)


def test_a_file_is_read_with_its_facts(tmp_path: Path) -> None:
    index = load_index(write(tmp_path, ivf()))
    assert (index.content_dim, index.n_vectors, index.n_lists, index.n_probed) == (DIM, 400, 8, 1)


def test_another_width_than_the_voices_is_refused(tmp_path: Path) -> None:
    index = load_index(write(tmp_path, ivf()))
    with pytest.raises(IndexMismatch, match="width 16; the voice uses 768"):
        index.check_width(768)


def test_an_index_without_vectors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidIndex, match="no vectors"):
        load_index(write(tmp_path, ivf([])))


def test_the_index_beside_a_trained_one_is_read_instead(tmp_path: Path) -> None:
    folder = tmp_path / "trained"  # upstream replaced the word in the whole path
    folder.mkdir()
    path = write(folder, ivf([]), "trained_IVF8.index")
    write(folder, ivf(), "added_IVF8.index")
    assert load_index(path).n_vectors == 400


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"hello"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        lambda path: path.unlink(),
    ],
)
def test_damaged_and_missing_files_are_refused(
    damage: Callable[[Path], Any], tmp_path: Path
) -> None:
    path = write(tmp_path, ivf())
    damage(path)
    with pytest.raises(InvalidIndex):
        load_index(path)


def test_an_index_of_another_metric_is_refused(tmp_path: Path) -> None:
    index = faiss.IndexFlatIP(DIM)
    index.add(VECTORS)
    with pytest.raises(InvalidIndex, match="L2"):
        load_index(write(tmp_path, index))
