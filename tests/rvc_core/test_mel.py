from __future__ import annotations

import librosa
import numpy as np
import pytest

from rvc_core.mel import MelScale, mel_bank


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize(
    ("n_mels", "n_fft", "sample_rate", "low_hz", "high_hz"),
    [(128, 1024, 16_000, 30, 8000), (80, 400, 16_000, 0, 8000), (20, 512, 44_100, 1500, 9000)],
)
def test_filters_are_those_of_librosa(
    scale: MelScale, n_mels: int, n_fft: int, sample_rate: int, low_hz: float, high_hz: float
) -> None:
    expected = librosa.filters.mel(
        sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=low_hz, fmax=high_hz, htk=scale == "htk"
    )
    bank = mel_bank(scale, n_mels, n_fft, sample_rate, low_hz, high_hz)
    np.testing.assert_allclose(bank, expected, rtol=1e-6, atol=1e-9)
    assert bank.dtype == np.float32
