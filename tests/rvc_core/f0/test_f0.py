from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from rvc_core.errors import Cancelled, InvalidOption, MissingPackage
from rvc_core.f0 import F0_METHODS, estimate_in_blocks, load_f0_estimator
from rvc_core.options import F0_METHOD_NAMES
from rvc_core.token import Token

HOP = 160


class LocalEstimator:
    """Reads the pitch off the sample at each frame; spoils frames near both ends of its input."""

    name = "local"
    extra_frames = 0
    nbytes = 0

    def __init__(self, spoilt: int = 0) -> None:
        self.spoilt = spoilt
        self.heard: list[int] = []

    def estimate(self, samples: NDArray[np.floating], n_frames: int) -> NDArray[np.float64]:
        self.heard.append(len(samples))
        f0 = np.array([samples[min(i * HOP, len(samples) - 1)] for i in range(n_frames)])
        f0[: self.spoilt] = -1
        f0[n_frames - self.spoilt :] = -1
        return f0.astype(np.float64)

    def to(self, device: str) -> None:
        raise AssertionError("nothing here moves")


def ramp(seconds: float) -> NDArray[np.float32]:
    return np.arange(round(seconds * 16_000), dtype=np.float32)


def test_the_table_holds_every_method_of_the_options_but_auto() -> None:
    assert tuple(F0_METHODS) == tuple(name for name in F0_METHOD_NAMES if name != "auto")


def test_only_rmvpe_needs_weights() -> None:
    assert [name for name, method in F0_METHODS.items() if method.needs_weights] == ["rmvpe"]


def test_an_unknown_method_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(InvalidOption, match="'harvest'.*rmvpe, fcpe, crepe") as caught:
        load_f0_estimator("harvest")
    assert caught.value.param == "f0_method"


@pytest.mark.parametrize(
    ("method", "module", "how"),
    [
        ("crepe", "torchcrepe", 'pip install ".[crepe]"'),
        ("crepe-tiny", "torchcrepe", 'pip install ".[crepe]"'),
        ("swift", "swift_f0", 'pip install ".[swift]"'),
        ("pm", "parselmouth", 'pip install ".[praat]"'),
        ("fcpe", "torchfcpe", "pip install torchfcpe"),
    ],
)
def test_a_missing_package_is_named_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch, method: str, module: str, how: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackage) as caught:
        load_f0_estimator(method)
    assert how in caught.value.message


def test_extras_of_the_table_are_those_of_the_message() -> None:
    extras = {name: method.extra for name, method in F0_METHODS.items() if method.extra}
    assert extras == {"crepe": "crepe", "crepe-tiny": "crepe", "swift": "swift", "pm": "praat"}


def test_short_audio_is_estimated_at_once() -> None:
    estimator = LocalEstimator(spoilt=3)
    samples = ramp(5)
    f0 = estimate_in_blocks(estimator, samples, 500, block_s=3, overlap_s=1)
    assert estimator.heard == [len(samples)]
    np.testing.assert_array_equal(f0, LocalEstimator(spoilt=3).estimate(samples, 500))


def test_audio_that_is_one_sample_too_long_is_cut() -> None:
    estimator = LocalEstimator()
    estimate_in_blocks(estimator, ramp(5 + 1 / 16_000), 500, block_s=3, overlap_s=1)
    assert len(estimator.heard) == 2


@pytest.mark.parametrize("extra", [0, 1, 77, 160])
def test_blocks_join_without_a_trace(extra: int) -> None:
    samples = np.append(ramp(10.25), np.full(extra, 5.0, dtype=np.float32))
    n_frames = len(samples) // HOP + 1
    joined = estimate_in_blocks(LocalEstimator(spoilt=90), samples, n_frames, 2.0, 1.0)
    direct = LocalEstimator(spoilt=90).estimate(samples, n_frames)
    np.testing.assert_array_equal(joined, direct)


def test_no_block_hears_more_than_itself_and_its_overlaps() -> None:
    estimator = LocalEstimator()
    samples = ramp(20.333)
    estimate_in_blocks(estimator, samples, len(samples) // HOP, block_s=3, overlap_s=0.5)
    assert len(estimator.heard) == 7
    assert max(estimator.heard) <= (3 + 2 * 0.5) * 16_000


def test_every_block_starts_on_the_grid_of_frames() -> None:
    class Recorder(LocalEstimator):
        def estimate(self, samples: NDArray[np.floating], n_frames: int) -> NDArray[np.float64]:
            assert samples[0] % HOP == 0
            return super().estimate(samples, n_frames)

    estimate_in_blocks(Recorder(), ramp(9.9), 990, block_s=1.234, overlap_s=0.567)


def test_a_cancelled_request_ends_before_the_next_block() -> None:
    token = Token()

    class Canceller(LocalEstimator):
        def estimate(self, samples: NDArray[np.floating], n_frames: int) -> NDArray[np.float64]:
            token.cancel()
            return super().estimate(samples, n_frames)

    estimator = Canceller()
    with pytest.raises(Cancelled):
        estimate_in_blocks(estimator, ramp(10), 1000, block_s=2, overlap_s=0.5, token=token)
    assert len(estimator.heard) == 1
