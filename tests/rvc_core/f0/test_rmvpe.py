from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rvc_core.errors import InvalidWeights, MissingWeights
from rvc_core.f0 import load_f0_estimator
from rvc_core.f0.rmvpe import RMVPE, decode_salience
from tests.rvc_core.f0.signals import glide


def salience(*peaks: tuple[int, float]) -> Any:
    """One frame for each peak (bin, height), a triangle of three bins."""
    frames = np.zeros((len(peaks), 360), dtype=np.float32)
    for frame, (centre, height) in zip(frames, peaks, strict=True):
        for neighbour in (centre - 1, centre + 1):
            if 0 <= neighbour < 360:
                frame[neighbour] = height / 2
        frame[centre] = height
    return frames


def hz_of_bin(number: int) -> float:
    return float(10 * 2 ** ((1997.3794084376191 + 20 * number) / 1200))


def test_a_peak_between_equal_neighbours_is_at_its_bin() -> None:
    assert decode_salience(salience((100, 0.9)))[0] == pytest.approx(hz_of_bin(100), rel=1e-6)


def test_a_peak_leans_to_its_greater_neighbour() -> None:
    frames = salience((100, 0.9))
    frames[0, 101] = 0.8
    assert hz_of_bin(100) < decode_salience(frames)[0] < hz_of_bin(101)


def test_only_peaks_above_the_threshold_are_voiced() -> None:
    f0 = decode_salience(salience((100, 0.0299), (100, 0.0301), (100, 0.0)))
    np.testing.assert_array_equal(f0 > 0, [False, True, False])


@pytest.mark.parametrize("centre", [0, 359])
def test_peaks_at_the_ends_count_nothing_beyond(centre: int) -> None:
    f0 = decode_salience(salience((centre, 0.6)))
    assert f0[0] == pytest.approx(hz_of_bin(centre), rel=0.005)


def test_silence_has_no_pitch(rmvpe: RMVPE) -> None:
    np.testing.assert_array_equal(rmvpe.estimate(np.zeros(1600), 10), np.zeros(10))


@pytest.mark.parametrize("n_samples", [400, 512, 513, 2_479, 5_120])
def test_any_length_gives_the_frames_asked_for(rmvpe: RMVPE, n_samples: int) -> None:
    f0 = rmvpe.estimate(glide(0.5)[:n_samples], n_samples // 160 + 1)
    assert f0.shape == (n_samples // 160 + 1,)
    assert f0.dtype == np.float64
    assert np.isfinite(f0).all()


def test_two_threads_get_what_one_gets(rmvpe: RMVPE) -> None:
    clips = [glide(0.2, 100 + 50 * i, 200 + 50 * i) for i in range(4)]
    serial = [rmvpe.estimate(clip, 20) for clip in clips]
    with ThreadPoolExecutor(2) as pool:
        parallel = list(pool.map(lambda clip: rmvpe.estimate(clip, 20), clips))
    np.testing.assert_array_equal(parallel, serial)


def test_the_weights_take_four_bytes_each(rmvpe: RMVPE) -> None:
    assert rmvpe.nbytes == pytest.approx(361.9e6, rel=1e-3)


def test_missing_weights_are_named_with_the_way_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"none\.pt.*python scripts/get_models\.py"):
        load_f0_estimator("rmvpe", tmp_path / "none.pt")


def test_weights_not_given_are_missing() -> None:
    with pytest.raises(MissingWeights, match="get_models"):
        load_f0_estimator("rmvpe")


def test_a_folder_is_no_weights(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights):
        load_f0_estimator("rmvpe", tmp_path)


class Malicious:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("malicious-file-was-here"),))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404</html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\x80\x02]q\x00.",
        pickle.dumps(Malicious(), protocol=2),
    ],
    ids=["empty", "html", "lfs pointer", "list", "malicious"],
)
def test_a_foreign_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "rmvpe.pt"
    path.write_bytes(content)
    with pytest.raises(InvalidWeights, match=r"rmvpe\.pt"):
        load_f0_estimator("rmvpe", path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["rmvpe.pt"]


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"weight": {"a": torch.zeros(1)}, "config": [1]},
        {"fc.1.bias": torch.zeros(360)},
        {"fc.1.bias": torch.zeros(7, dtype=torch.int64)},
    ],
    ids=["list", "voice", "parts", "wrong shape"],
)
def test_other_contents_of_a_torch_file_are_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "rmvpe.pt"
    torch.save(content, path)
    with pytest.raises(InvalidWeights, match=r"rmvpe\.pt"):
        load_f0_estimator("rmvpe", path)


def test_a_truncated_file_is_refused(tmp_path: Path, rmvpe_file: Path) -> None:
    path = tmp_path / "rmvpe.pt"
    path.write_bytes(rmvpe_file.read_bytes()[:1_000_000])
    with pytest.raises(InvalidWeights, match="damaged"):
        load_f0_estimator("rmvpe", path)
