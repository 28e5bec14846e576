from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rvc_core.f0.swift import Swift


class Detector:
    """Answers with a fixed curve at 16 ms."""

    def __init__(self, hz: list[float], confidence: list[float]) -> None:
        self.answer = SimpleNamespace(pitch_hz=np.array(hz), confidence=np.array(confidence))
        self.asked: dict[str, Any] = {}

    def detect(self, samples: Any, sample_rate: int, **limits: float) -> SimpleNamespace:
        self.asked = {"dtype": samples.dtype, "sample_rate": sample_rate, **limits}
        return self.answer


def test_frames_of_16_ms_are_brought_to_10_ms_along_log_frequency() -> None:
    swift = Swift(Detector([100, 200, 400], [1, 1, 1]), 0)
    f0 = swift.estimate(np.zeros(768), 4)
    np.testing.assert_allclose(f0, 100 * 2 ** (np.array([0, 10, 20, 30]) / 16), rtol=1e-6)


def test_frames_of_low_confidence_are_unvoiced() -> None:
    swift = Swift(Detector([100, 100, 100, 100, 100], [0.5, 0.49, 0.1, 0.49, 0.5]), 0)
    voiced = swift.estimate(np.zeros(1280), 8) > 0
    np.testing.assert_array_equal(voiced, [1, 0, 0, 0, 0, 0, 1, 1])


def test_the_detector_is_asked_for_the_range_of_voices() -> None:
    detector = Detector([100], [1])
    Swift(detector, 0).estimate(np.zeros(400), 2)
    assert detector.asked == {
        "dtype": np.dtype(np.float32),
        "sample_rate": 16_000,
        "fmin": pytest.approx(50),
        "fmax": pytest.approx(1100),
    }
