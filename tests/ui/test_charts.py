from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.ui.fakes import sine
from ui import charts
from ui.charts import Series


def series(key: str = "source", f0: NDArray[np.float32] | None = None, **more: object) -> Series:
    audio = sine(1.0)
    curve = np.full(100, 150, np.float32) if f0 is None else f0
    return Series(key, str(more.get("name", key)), audio.samples, audio.sample_rate, curve)


def glide(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_both_pitch_curves_are_paths_named_by_their_series() -> None:
    html = charts.comparison([series("source"), series("result")], "en")
    assert re.findall(r'<path data-series="(\w+)"', html) == ["source", "result"]


def test_every_drawing_says_in_words_what_it_shows() -> None:
    html = charts.comparison([series("source"), series("result")], "en")
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', html)
    assert len(labels) == 3
    assert "source: 150 to 150 Hz, median 150 Hz." in labels[2]


def test_labels_follow_the_language() -> None:
    assert "中位数 150 Hz" in charts.comparison([series()], "zh")


def test_a_gap_in_the_voice_is_a_gap_in_the_curve() -> None:
    path = charts.pitch_path(glide(100, 110, 0, 0, 120, 130), 0.06, 50, 200)
    assert path.count("M") == 2
    assert path.count("L") == 2


def test_a_leap_of_an_octave_is_not_drawn_as_a_glide() -> None:
    assert charts.strokes_of(glide(100, 101, 202, 203)) == [(0, 2), (2, 4)]


def test_a_single_voiced_frame_is_a_dot() -> None:
    assert charts.pitch_path(glide(0, 100, 0), 0.03, 50, 200).endswith("h0")


def test_equal_intervals_are_equal_heights() -> None:
    assert charts.height_of(200, 100, 400) == pytest.approx(0.5)


def test_the_axis_spans_an_octave_around_a_monotone_voice() -> None:
    low_hz, high_hz = charts.pitch_range([np.full(10, 150, np.float32)])
    assert high_hz / low_hz >= 2
    assert low_hz < 150 < high_hz


@pytest.mark.parametrize("f0", [glide(), glide(0, 0, 0)])
def test_a_recording_without_pitch_still_gives_a_chart(f0: NDArray[np.float32]) -> None:
    html = charts.comparison([series(f0=f0)], "en")
    assert "source: no voiced sound." in html
    assert "nan" not in html


def test_half_an_hour_is_drawn_with_no_more_points_than_a_screen_shows() -> None:
    f0 = np.full(180_000, 150, np.float32)
    points, n_each = charts.thin(f0, 1200)
    assert (len(points), n_each) == (1200, 150)
    assert np.all(points == 150)


def test_thinned_points_are_medians_of_what_is_voiced() -> None:
    points, n_each = charts.thin(glide(100, 120, 0, 0, 0, 90), 2)
    assert (points.tolist(), n_each) == ([110.0, 0.0], 3)


def test_an_envelope_keeps_the_loudest_samples() -> None:
    samples = np.zeros(10_000, np.float32)
    samples[1234], samples[8765] = 0.9, -0.8
    low, high = charts.envelope(samples, 100)
    assert (high.max(), low.min()) == (np.float32(0.9), np.float32(-0.8))


def test_a_shorter_recording_ends_earlier_on_the_common_axis() -> None:
    path = charts.wave_path(series(), duration_s=2.0, peak=1.0)
    xs = [float(x) for x in re.findall(r"[ML]([\d.]+) ", path)]
    assert max(xs) == pytest.approx(charts.WIDTH / 2)


def test_silence_and_nothing_are_drawn() -> None:
    silent = Series("source", "source", np.zeros(100, np.float32), 16_000, glide())
    empty = Series("result", "result", np.zeros(0, np.float32), 16_000, glide())
    assert "nan" not in charts.comparison([silent, empty], "en")


def test_names_are_escaped() -> None:
    assert "<b>" not in charts.comparison([series(name="<b>")], "en")


@pytest.mark.parametrize("duration_s", [0.01, 0.3, 2.9, 61.0, 1800.0, 40_000.0])
def test_time_ticks_are_few_and_inside(duration_s: float) -> None:
    ticks = charts.time_ticks(duration_s)
    assert ticks[0] == 0
    assert ticks[-1] <= duration_s + 1e-9
    assert len(ticks) <= 7


def test_times_are_written_as_people_do() -> None:
    assert [charts.time_label(s) for s in (0.5, 12, 90)] == ["0.5 s", "12 s", "1:30"]
