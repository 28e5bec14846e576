from __future__ import annotations

import numpy as np
import pytest

from rvc_core.f0.praat import centre


@pytest.mark.parametrize(
    ("n_found", "n_frames", "expected"),
    [
        (3, 3, [1, 2, 3]),
        (3, 5, [0, 1, 2, 3, 0]),
        (3, 6, [0, 0, 1, 2, 3, 0]),  # the odd zero stands in front, as in official RVC
        (5, 3, [2, 3, 4]),
        (0, 2, [0, 0]),
    ],
)
def test_frames_are_centred(n_found: int, n_frames: int, expected: list[float]) -> None:
    np.testing.assert_array_equal(centre(np.arange(1.0, n_found + 1), n_frames), expected)
