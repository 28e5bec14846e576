"""Waveforms and pitch curves as inline SVG; labels are HTML, so they keep their size on a phone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from ui.text import say

FRAME_S = 0.01  # pitch curves stand on a grid of 10 ms
WIDTH, HEIGHT = 1000, 100  # units of the drawing, which is stretched to its box
N_COLUMNS = 400  # of a waveform
N_POINTS = 1200  # of a pitch curve; more than a screen shows
MIN_OCTAVES = 1.0
LEAP_OCTAVES = 0.5  # between two frames; more is the estimator's doing, not a glide
TICKS_HZ = (30, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1200, 1600)
STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 3600)
MAX_TICKS = 6


@dataclass(frozen=True)
class Series:
    """One recording in a chart: `key` names it in the markup, `name` for people.

    `samples` is mono audio; `f0` in Hz on a 10 ms grid, 0 where unvoiced.
    """

    key: str
    name: str
    samples: NDArray[np.float32]
    sample_rate: int
    f0: NDArray[np.float32]

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


def comparison(series: Sequence[Series], language: str, with_pitch: bool = True) -> str:
    """One figure on one time axis: the waveform of each recording, then all pitch curves."""
    lanes = waveforms(series, language)
    curves = pitch_curves(series, language) if with_pitch else ""
    ticks = _time_axis(longest(series))
    return (
        f'<div class="vs-figure"><div class="vs-figure-head">{_legend(series)}</div>'
        f"{lanes}{curves}{ticks}</div>"
    )


def waveforms(series: Sequence[Series], language: str) -> str:
    """Draw each waveform in a lane of its own, all on one time and amplitude scale."""
    duration_s = longest(series)
    peak = max((float(np.abs(s.samples).max(initial=0.0)) for s in series), default=0.0)
    return "".join(_lane(s, duration_s, peak, language) for s in series)


def pitch_curves(series: Sequence[Series], language: str) -> str:
    """Draw all pitch curves over one logarithmic axis in Hz, with gaps where unvoiced."""
    duration_s = longest(series)
    low_hz, high_hz = pitch_range([s.f0 for s in series])
    parts = " ".join(_pitch_words(s, language) for s in series)
    curves = "".join(
        f'<path data-series="{escape(s.key)}" class="curve {escape(s.key)}" '
        f'd="{pitch_path(s.f0, duration_s, low_hz, high_hz)}"/>'
        for s in series
    )
    return (
        f'<div class="vs-plot vs-pitch">{_pitch_axis(low_hz, high_hz)}'
        f"{_svg(say('pitch_label', language, parts=parts), curves)}</div>"
    )


def longest(series: Sequence[Series]) -> float:
    """The length of the time axis in seconds."""
    return max((s.duration_s for s in series), default=0.0) or FRAME_S


def envelope(samples: NDArray[np.float32], n_columns: int) -> NDArray[np.float32]:
    """Return the least and greatest sample of each column, shape (2, columns)."""
    if len(samples) == 0:
        return np.zeros((2, 0), np.float32)
    starts = np.unique(np.linspace(0, len(samples), n_columns, endpoint=False).astype(int))
    return np.stack([np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)])


def wave_path(series: Series, duration_s: float, peak: float) -> str:
    """The outline of a waveform as SVG path data; `peak` reaches the edge of the lane."""
    share = series.duration_s / duration_s
    low, high = envelope(series.samples, max(1, round(N_COLUMNS * share)))
    if len(low) == 0:
        return ""
    x = np.linspace(0, WIDTH * share, len(low))
    scale = 0.46 * HEIGHT / max(peak, 1e-9)
    top = HEIGHT / 2 - high * scale - 0.5  # half a unit each, so that silence is a thin line
    bottom = HEIGHT / 2 - low * scale + 0.5
    there = [f"{px:.1f} {py:.1f}" for px, py in zip(x, top, strict=True)]
    back = [f"{px:.1f} {py:.1f}" for px, py in zip(x[::-1], bottom[::-1], strict=True)]
    return "M" + "L".join(there + back) + "Z"


def thin(f0: NDArray[np.float32], n_points: int) -> tuple[NDArray[np.float32], int]:
    """Return at most `n_points` medians of `f0` and how many frames each stands for.

    A point is unvoiced (0) where most of its frames are.
    """
    n_each = max(1, math.ceil(len(f0) / n_points))
    padded = np.pad(f0, (0, -len(f0) % n_each)).reshape(-1, n_each)
    voiced = padded > 0
    medians = np.zeros(len(padded), np.float32)
    kept = voiced.mean(axis=1) > 0.5 - 1e-9
    medians[kept] = [np.median(row[row > 0]) for row in padded[kept]]
    return medians, n_each


def pitch_path(f0: NDArray[np.float32], duration_s: float, low_hz: float, high_hz: float) -> str:
    """A pitch curve as SVG path data: one stroke for each stretch, nothing between."""
    points, n_each = thin(f0, N_POINTS)
    strokes = []
    for start, stop in strokes_of(points):
        times = (np.arange(start, stop) + 0.5) * n_each * FRAME_S
        x = np.clip(times / duration_s, 0, 1) * WIDTH
        y = [HEIGHT * (1 - height_of(hz, low_hz, high_hz)) for hz in points[start:stop]]
        moves = [f"{px:.1f} {py:.1f}" for px, py in zip(x, y, strict=True)]
        strokes.append("M" + "L".join(moves) + ("h0" if len(moves) == 1 else ""))
    return "".join(strokes)


def strokes_of(f0: NDArray[np.float32]) -> list[tuple[int, int]]:
    """First and past-the-last frame of each stretch with pitch and without a leap."""
    if len(f0) == 0:
        return []
    voiced = f0 > 0
    ratio = np.maximum(f0[1:], 1) / np.maximum(f0[:-1], 1)
    leaps = np.abs(np.log2(ratio)) > LEAP_OCTAVES
    starts = voiced & np.concatenate([[True], ~voiced[:-1] | leaps])
    ends = voiced & np.concatenate([~voiced[1:] | leaps, [True]])
    pairs = zip(np.flatnonzero(starts), np.flatnonzero(ends), strict=True)
    return [(int(first), int(last) + 1) for first, last in pairs]


def height_of(hz: float, low_hz: float, high_hz: float) -> float:
    """Where `hz` lies between bottom (0) and top (1) of the logarithmic axis."""
    share = math.log(hz / low_hz) / math.log(high_hz / low_hz)
    return min(1.0, max(0.0, share))


def pitch_range(curves: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    """Bottom and top of the axis in Hz: around the voiced frames, an octave at least."""
    voiced = np.concatenate([np.zeros(0, np.float32), *(f0[f0 > 0] for f0 in curves)])
    if len(voiced) == 0:
        return 75.0, 300.0
    low, high = math.log2(float(voiced.min())), math.log2(float(voiced.max()))
    missing = max(0.0, MIN_OCTAVES - (high - low)) / 2
    margin = 0.08 * max(high - low, MIN_OCTAVES)
    return 2 ** (low - missing - margin), 2 ** (high + missing + margin)


def time_ticks(duration_s: float) -> list[float]:
    """Round times from 0 to the end, not more than a handful."""
    fitting = [step for step in STEPS_S if duration_s / step <= MAX_TICKS]
    step = fitting[0] if fitting else duration_s / MAX_TICKS
    return [i * step for i in range(math.floor(duration_s / step + 1e-9) + 1)]


def time_label(seconds: float) -> str:
    """A time for the axis: 0.5 s, 12 s or 1:30."""
    if seconds >= 60:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
    return f"{seconds:g} s"


def _lane(series: Series, duration_s: float, peak: float, language: str) -> str:
    label = say("wave_label", language, series=series.name, duration=series.duration_s)
    path = f'<path class="wave {escape(series.key)}" d="{wave_path(series, duration_s, peak)}"/>'
    return f'<div class="vs-plot vs-wave">{_svg(label, path)}</div>'


def _svg(label: str, content: str) -> str:
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'preserveAspectRatio="none">{content}</svg>'
    )


def _legend(series: Sequence[Series]) -> str:
    items = (f'<span class="vs-key {escape(s.key)}"><i></i>{escape(s.name)}</span>' for s in series)
    return f'<span class="vs-legend">{"".join(items)}</span>'


def _pitch_words(series: Series, language: str) -> str:
    voiced = series.f0[series.f0 > 0]
    if len(voiced) == 0:
        return say("pitch_none", language, series=series.name)
    return say(
        "pitch_part",
        language,
        series=series.name,
        low=voiced.min(),
        high=voiced.max(),
        median=np.median(voiced),
    )


def _pitch_axis(low_hz: float, high_hz: float) -> str:
    lines = "".join(
        f'<span class="vs-hz" style="bottom:{100 * height_of(hz, low_hz, high_hz):.1f}%">'
        f"<span>{hz}</span></span>"
        for hz in TICKS_HZ
        if low_hz <= hz <= high_hz
    )
    return f'<div aria-hidden="true">{lines}<span class="vs-unit">Hz</span></div>'


def _time_axis(duration_s: float) -> str:
    spans = []
    for seconds in time_ticks(duration_s):
        share = 100 * seconds / duration_s
        side = " first" if seconds == 0 else " last" if share > 92 else ""
        spans.append(
            f'<span class="vs-time{side}" style="left:{share:.1f}%">{time_label(seconds)}</span>'
        )
    return f'<div class="vs-axis" aria-hidden="true">{"".join(spans)}</div>'
