from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from rvc_core.f0 import F0Estimator
from tests.rvc_core.f0.signals import glide


def test_the_curve_is_that_of_the_package(
    estimator_of: Callable[[str], F0Estimator], capfd: pytest.CaptureFixture[str]
) -> None:
    from torchfcpe import spawn_bundled_infer_model

    samples = np.concatenate([glide(0.7), np.zeros(3_000, dtype=np.float32), glide(0.3)])
    packaged = spawn_bundled_infer_model("cpu")
    expected = packaged.infer(
        torch.from_numpy(samples)[None], sr=16_000, decoder_mode="local_argmax", threshold=0.006
    )
    f0 = estimator_of("fcpe").estimate(samples, len(samples) // 160 + 1)
    np.testing.assert_allclose(f0, expected.flatten().numpy(), rtol=1e-5)
    assert "device" in capfd.readouterr().out  # the package's loader prints; ours may not


def test_a_curve_that_is_too_short_holds_its_last_value(
    estimator_of: Callable[[str], F0Estimator],
) -> None:
    f0 = estimator_of("fcpe").estimate(glide(0.5), 60)
    assert f0[51:].tolist() == [f0[50]] * 9
