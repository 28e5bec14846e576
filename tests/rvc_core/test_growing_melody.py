"""Pitch that is found while the first pieces are already heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rvc_core.growing_melody import GrowingMelody
from rvc_core.melody import plan_melody, settle_options
from rvc_core.options import ConversionOptions
from rvc_core.run import Run
from rvc_core.token import Token
from rvc_core.voice import Voice
from tests.rvc_core.tiny import TinyVoice

HOP = 160


class Written:
    """Finds the pitch that the samples of each frame spell, and notes how much it heard."""

    name = "written"
    extra_frames = 0
    nbytes = 0

    def __init__(self) -> None:
        self.heard: list[int] = []

    def estimate(self, samples: Any, n_frames: int) -> npt.NDArray[np.float64]:
        self.heard.append(n_frames)
        return np.asarray(samples[: n_frames * HOP : HOP], np.float64)

    def to(self, device: str) -> None:
        """Nothing to move."""


def spell(f0: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.repeat(f0, HOP)


def speech(seconds: int) -> npt.NDArray[np.float64]:
    """A curve that glides, with a pause of half a second in each two."""
    frames = np.arange(seconds * 100)
    return np.where(frames % 200 < 150, 120 + 20 * np.sin(frames / 70), 0.0)


@pytest.fixture(scope="module", params=[22_050, 40_000])
def voice(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Voice:
    folder: Path = tmp_path_factory.mktemp("voice")
    return TinyVoice(request.param, extras={"f0_median": 200.0}).load(folder)


def growing(
    curve: npt.NDArray[np.float64], voice: Voice, estimator: Written, **options: Any
) -> GrowingMelody:
    settled = settle_options(ConversionOptions(**options), {})
    return GrowingMelody(spell(curve), settled, voice, estimator, Run(Token(), lambda _: None))


@pytest.mark.parametrize("unvoiced", ["keep", "interpolate", "protect"])
@pytest.mark.parametrize("filter_radius", [0, 3])
def test_it_grows_into_the_melody_of_the_whole(
    unvoiced: str, filter_radius: int, voice: Voice
) -> None:
    curve = speech(130)
    options: dict[str, Any] = {"unvoiced": unvoiced, "filter_radius": filter_radius}
    melody = growing(curve, voice, Written(), **options)
    settled = settle_options(ConversionOptions(**options), {})
    whole = plan_melody(curve, settled, None, voice.config.frame_rate)
    pitch = whole.pitch(voice.config)
    for n_frames in (500, 1_715, 1_990, 2_400, 7_000, melody.n_frames):
        known, known_pitch = melody.until(n_frames)
        np.testing.assert_array_equal(known.f0[:n_frames], whole.f0[:n_frames])
        np.testing.assert_array_equal(known.protected[:n_frames], whole.protected[:n_frames])
        np.testing.assert_array_equal(known_pitch.phase[:n_frames], pitch.phase[:n_frames])


def test_the_beginning_needs_no_more_than_the_beginning(voice: Voice) -> None:
    estimator = Written()
    growing(speech(130), voice, estimator).until(800)
    assert estimator.heard == [2_200]  # 20 s, and 2 s to look ahead


def test_a_short_recording_is_heard_at_once(voice: Voice) -> None:
    estimator = Written()
    growing(speech(24), voice, estimator).until(1)
    assert estimator.heard == [2_400]


def test_official_compatibility_hears_everything_at_once(voice: Voice) -> None:
    estimator = Written()
    growing(speech(130), voice, estimator, compatibility="official").until(1)
    assert estimator.heard == [13_000]


def test_transposition_is_settled_by_the_beginning(voice: Voice) -> None:
    """What follows an octave higher moves by as much as the beginning does."""
    curve = np.concatenate([np.full(2_000, 100.0), np.full(6_000, 200.0)])
    melody = growing(curve, voice, Written(), auto_transpose=True)
    f0 = melody.until(melody.n_frames)[0].f0
    assert f0[100] == pytest.approx(200, rel=1e-3)
    assert f0[-200] == pytest.approx(400, rel=1e-3)


def test_transposition_waits_for_a_voice(voice: Voice) -> None:
    curve = np.concatenate([np.zeros(2_500), np.full(6_000, 100.0)])
    melody = growing(curve, voice, Written(), auto_transpose=True)
    assert melody.until(melody.n_frames)[0].f0[-200] == pytest.approx(200, rel=1e-3)


def test_silence_has_a_melody_too(voice: Voice) -> None:
    melody = growing(np.zeros(3_000), voice, Written(), auto_transpose=True)
    assert not melody.until(melody.n_frames)[0].f0.any()
