"""What holds for every method whose weights come with its package."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from rvc_core.f0 import F0Estimator
from tests.rvc_core.f0.signals import cents, glide, glide_f0, recording

METHODS = ("fcpe", "crepe-tiny", "swift", "pm", "pyin")
ALL = (*METHODS, "crepe")  # crepe takes seconds for each second: short clips only
EstimatorOf = Callable[[str], F0Estimator]


@pytest.mark.parametrize(("method", "seconds"), [(m, 2.0) for m in METHODS] + [("crepe", 0.2)])
def test_a_glide_is_followed_within_a_quarter_tone(
    estimator_of: EstimatorOf, method: str, seconds: float
) -> None:
    truth = glide_f0(seconds)
    f0 = estimator_of(method).estimate(glide(seconds), len(truth))
    errors = cents(f0, truth)
    assert len(errors) > 0.7 * len(truth)
    assert np.median(errors) < 50


@pytest.mark.parametrize("method", ALL)
def test_silence_has_no_pitch(estimator_of: EstimatorOf, method: str) -> None:
    f0 = estimator_of(method).estimate(np.zeros(1_600, dtype=np.float32), 10)
    np.testing.assert_array_equal(f0, np.zeros(10))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_samples", [400, 959, 1_023, 1_600, 2_479])
@pytest.mark.parametrize("extra_frames", [0, 1])
def test_any_length_gives_the_frames_asked_for(
    estimator_of: EstimatorOf, method: str, n_samples: int, extra_frames: int
) -> None:
    n_frames = n_samples // 160 + extra_frames
    f0 = estimator_of(method).estimate(glide(1.0)[:n_samples], n_frames)
    assert f0.shape == (n_frames,)
    assert f0.dtype == np.float64
    assert np.isfinite(f0).all()


@pytest.mark.parametrize("method", METHODS)
def test_extra_frames_are_those_beyond_whole_hops(estimator_of: EstimatorOf, method: str) -> None:
    estimator = estimator_of(method)
    samples = glide(1.0)
    n_frames = len(samples) // 160 + estimator.extra_frames
    longer = estimator.estimate(samples, n_frames)
    np.testing.assert_array_equal(longer[:100], estimator.estimate(samples, 100))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_read_only_and_backward_arrays_are_understood(
    estimator_of: EstimatorOf, method: str, dtype: type[np.floating]
) -> None:
    samples = glide(0.3).astype(dtype)
    backward = samples[::-1].copy()[::-1]
    backward.flags.writeable = False
    estimator = estimator_of(method)
    np.testing.assert_array_equal(estimator.estimate(backward, 30), estimator.estimate(samples, 30))


@pytest.mark.parametrize("method", METHODS)
def test_samples_beyond_full_scale_are_understood(
    estimator_of: EstimatorOf, method: str, capfd: pytest.CaptureFixture[str]
) -> None:
    f0 = estimator_of(method).estimate(4 * glide(1.0), 100)
    assert np.median(cents(f0, glide_f0(1.0))) < 50
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", METHODS)
def test_two_threads_get_what_one_gets(estimator_of: EstimatorOf, method: str) -> None:
    estimator = estimator_of(method)
    clips = [glide(0.3, 100 + 20 * i, 200 + 20 * i) for i in range(6)]
    serial = [estimator.estimate(clip, 30) for clip in clips]
    with ThreadPoolExecutor(2) as pool:
        parallel = list(pool.map(lambda clip: estimator.estimate(clip, 30), clips))
    np.testing.assert_array_equal(parallel, serial)


def test_full_and_tiny_crepe_do_not_disturb_each_other(estimator_of: EstimatorOf) -> None:
    full, tiny = estimator_of("crepe"), estimator_of("crepe-tiny")
    samples = glide(0.05)
    serial = [full.estimate(samples, 5), tiny.estimate(samples, 5)]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(e.estimate, samples, 5) for e in (full, tiny)]
        parallel = [job.result() for job in jobs]
    assert not np.array_equal(serial[0], serial[1])
    np.testing.assert_array_equal(parallel, serial)


@pytest.mark.parametrize("method", METHODS)
def test_the_samples_stay_as_they_were(estimator_of: EstimatorOf, method: str) -> None:
    samples = glide(0.3)
    estimator_of(method).estimate(samples, 30)
    np.testing.assert_array_equal(samples, glide(0.3))


@pytest.mark.parametrize(
    ("method", "low", "high"),
    [
        ("fcpe", 40e6, 50e6),
        ("crepe-tiny", 1.8e6, 2.1e6),
        ("crepe", 85e6, 95e6),
        ("swift", 1e5, 2e5),
        ("pm", 0, 0),
        ("pyin", 0, 0),
    ],
)
def test_estimators_know_the_size_of_their_weights(
    estimator_of: EstimatorOf, method: str, low: float, high: float
) -> None:
    assert low <= estimator_of(method).nbytes <= high


@pytest.mark.parametrize("method", ALL)
def test_estimators_bear_the_name_of_their_method(estimator_of: EstimatorOf, method: str) -> None:
    assert estimator_of(method).name == method


@pytest.mark.parametrize("method", METHODS)
def test_an_estimator_works_after_a_move_to_the_same_device(
    estimator_of: EstimatorOf, method: str
) -> None:
    estimator = estimator_of(method)
    before = estimator.estimate(glide(0.3), 30)
    estimator.to("cpu")
    np.testing.assert_array_equal(estimator.estimate(glide(0.3), 30), before)


@pytest.fixture(scope="module")
def speech_curves(estimator_of: EstimatorOf) -> dict[str, NDArray[np.float64]]:
    samples = recording("quick_brown_fox")[: 2 * 16_000]
    n_frames = len(samples) // 160
    return {m: estimator_of(m).estimate(samples, n_frames) for m in METHODS}


@pytest.mark.parametrize("method", [m for m in METHODS if m != "fcpe"])
def test_methods_agree_on_real_speech(
    speech_curves: dict[str, NDArray[np.float64]], method: str
) -> None:
    errors = cents(speech_curves[method], speech_curves["fcpe"])
    assert len(errors) > 50
    assert np.median(errors) < 50


def test_loading_and_estimating_print_and_warn_of_nothing() -> None:
    script = (
        "import numpy as np\n"
        "from rvc_core.f0 import load_f0_estimator\n"
        f"for method in {METHODS!r}:\n"
        "    load_f0_estimator(method).estimate(np.zeros(1600, dtype=np.float32), 10)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
