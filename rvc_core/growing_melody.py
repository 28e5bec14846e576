"""The melody of a recording, found as far as the pieces need it.

A result begins to be heard before the pitch of the whole recording is known.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from rvc_core.f0 import F0Estimator, estimate_blocks
from rvc_core.melody import DETECTOR_RATE, Melody, shape_melody, transposition
from rvc_core.options import ConversionOptions
from rvc_core.run import Run
from rvc_core.synthesizer import Pitch
from rvc_core.voice import Voice

Curve = npt.NDArray[np.float64]

AT_ONCE: tuple[float, ...] = (math.inf,)
BLOCKS_S: tuple[float, ...] = (
    20.0,
    40.0,
    60.0,
)  # heard one after the other; the last length repeats
VOICED_FRAMES = 5 * DETECTOR_RATE  # with voice, before the recording's pitch counts as known
_NEARBY = 2  # frames: what a smoothed or resampled one depends on


class GrowingMelody:
    """What the voice shall sing; `n_frames` are the voice's frames of the whole recording.

    With `auto_transpose` the recording's pitch is that of its first 20 s, or of as much as has
    5 s of voice in it. Official compatibility hears everything at once.
    """

    def __init__(
        self,
        padded: Curve,
        options: ConversionOptions,
        voice: Voice,
        estimator: F0Estimator,
        run: Run,
    ) -> None:
        self._options, self._voice, self._run = options, voice, run
        self._n_detected = len(padded) // 160
        self.n_frames = int(self._n_detected * voice.config.frame_rate / DETECTOR_RATE)
        self._n_heard, blocks_s = self._n_detected, BLOCKS_S
        if options.compatibility == "official":
            # Unvoiced frames are filled before the extra ones are dropped.
            self._n_heard += estimator.extra_frames
            blocks_s = AT_ONCE
        self._blocks = estimate_blocks(estimator, padded, self._n_heard, blocks_s)
        self._detected: Curve = np.zeros(0)
        self._semitones: float | None = None
        self._n_known = 0  # of the voice's frames: later ones may change
        self._melody: Melody
        self._pitch: Pitch

    def until(self, frame: int) -> tuple[Melody, Pitch]:
        """The melody from the first frame, right for those before `frame`; and as pitch."""
        while self._n_known < min(frame, self.n_frames):
            with self._run.stage("f0"):
                self._hear_more()
        return self._melody, self._pitch

    def source_f0(self, edge: int) -> npt.NDArray[np.float32]:
        """What the detector heard, without `edge` frames on each side; once all is known."""
        return self._detected[edge : self._n_detected - edge].astype(np.float32)

    def _hear_more(self) -> None:
        self._detected = np.concatenate([self._detected, next(self._blocks)])
        is_all = len(self._detected) == self._n_heard
        voiced = np.flatnonzero(self._detected > 0)
        median_hz = self._voice.facts.f0_median
        if self._semitones is None:
            if not is_all and len(voiced) < VOICED_FRAMES:
                return
            self._semitones = transposition(self._detected, self._options, median_hz)
        config = self._voice.config
        melody = shape_melody(self._detected, self._options, self._semitones, config.frame_rate)
        self._melody = melody.frames(0, self.n_frames)
        self._pitch = self._melody.pitch(config)
        if is_all:
            self._n_known = self.n_frames
        else:  # unvoiced frames are filled from the voiced ones around them
            n_sure = (voiced[-1] - _NEARBY) * config.frame_rate / DETECTOR_RATE
            self._n_known = max(0, int(n_sure) - _NEARBY)
