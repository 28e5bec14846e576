from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rvc_core.f0 import pyin
from rvc_core.f0.pyin import Pyin
from tests.rvc_core.f0.signals import cents, glide, glide_f0


@pytest.mark.parametrize("n_samples", [31_999, 32_000, 32_160, 70_001])
def test_pieces_join_without_a_trace(n_samples: int) -> None:
    samples, n_frames = glide(5.0)[:n_samples], n_samples // 160 + 1
    f0 = Pyin().estimate(samples, n_frames)
    errors = cents(f0[5:-5], glide_f0(5.0)[5 : n_frames - 5])
    assert len(errors) == n_frames - 10
    assert errors.max() < 40  # two bins


def test_noise_has_no_pitch() -> None:
    noise = 0.05 * np.random.default_rng(0).standard_normal(16_000)
    assert not Pyin().estimate(noise, 100).any()


def test_no_piece_hears_more_than_itself_and_its_overlaps(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []
    whole = pyin._estimate_piece

    def listen(samples: NDArray[np.floating]) -> NDArray[np.float64]:
        heard.append(len(samples))
        return whole(samples)

    monkeypatch.setattr(pyin, "_estimate_piece", listen)
    Pyin().estimate(glide(7.0), 701)
    assert len(heard) == 4
    assert max(heard) <= (200 + 2 * 50) * 160
