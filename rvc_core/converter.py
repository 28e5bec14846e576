"""A recording through a voice: the pipeline of RVC, one stage after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch

from rvc_core.audio import Audio, resample
from rvc_core.chunks import TIMINGS, ChunkTiming
from rvc_core.content import ContentEncoder
from rvc_core.errors import (
    ContentEncoderMismatch,
    InvalidOption,
    OutOfMemory,
    SpeakerOutOfRange,
)
from rvc_core.f0 import F0Estimator, estimate_in_blocks
from rvc_core.frontend import CONTEXT, SAMPLE_RATE, SHORTEST, add_context, prepare
from rvc_core.loudness import limit_peak, match_loudness, normalise_loudness
from rvc_core.melody import DETECTOR_RATE, Melody, plan_melody, settle_options
from rvc_core.options import ConversionOptions
from rvc_core.pieces import Models, PieceMaker, official_pieces, standard_pieces
from rvc_core.retrieval import FeatureIndex
from rvc_core.run import Progress, Run
from rvc_core.token import Token
from rvc_core.voice import HUBERT, Voice

Samples = npt.NDArray[np.float32]

_HOP = SAMPLE_RATE // 100  # of the F0 detectors


@dataclass(frozen=True)
class Conversion:
    """The result, with the seconds that each stage took.

    `source_f0` is what the detector heard in the recording, Hz on a 10 ms grid, 0 = unvoiced;
    empty for voices that do not use F0.
    """

    audio: Audio
    timings: dict[str, float]
    source_f0: npt.NDArray[np.float32]
    warnings: tuple[str, ...] = ()


class VoiceConverter:
    """Converts recordings into one voice; it has no state, so threads may share it.

    `make_room` is asked once for each length of pieces that the device has no memory for; it
    returns the bytes that it freed.
    """

    def __init__(
        self,
        voice: Voice,
        content_encoder: ContentEncoder,
        index: FeatureIndex | None = None,
        make_room: Callable[[], int] = lambda: 0,
    ) -> None:
        if content_encoder.name != voice.facts.content:
            raise ContentEncoderMismatch(
                f"The voice {voice.name} was trained on {voice.facts.content}; "
                f"the content encoder given is {content_encoder.name}.",
                value=content_encoder.name,
            )
        if index is not None:
            index.check_width(voice.config.content_dim)
        self.voice = voice
        self.content_encoder = content_encoder
        self.index = index
        self._make_room = make_room

    def convert(
        self,
        source: Audio,
        options: ConversionOptions,
        f0_estimator: F0Estimator | None = None,
        token: Token | None = None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> Conversion:
        """Convert `source`; the result lasts exactly as long, official compatibility aside."""
        self._check(options, f0_estimator)
        settled = settle_options(options, self.voice.facts.defaults)
        run = Run(token or Token(), on_progress)
        start = time.perf_counter()
        official = settled.compatibility == "official"
        recording = prepare(source, like_ffmpeg=official)
        padded = add_context(recording, reflect=self.voice.facts.content == HUBERT)
        melody, source_f0 = self._melody(padded, settled, f0_estimator, run)
        models = Models(self.voice, self.content_encoder, self.index)
        maker = PieceMaker(models, settled, padded, melody, run)
        samples = self._synthesize(maker, recording, source)
        run.token.check()
        samples = match_loudness(
            samples, self.voice.sample_rate, recording, SAMPLE_RATE, settled.rms_mix_rate
        )
        audio = self._finish(samples, settled, source)
        run.timings["total"] = time.perf_counter() - start
        return Conversion(audio, run.timings, source_f0, self._warnings(options))

    def _check(self, options: ConversionOptions, f0_estimator: F0Estimator | None) -> None:
        if options.speaker_id >= self.voice.n_speakers:
            raise SpeakerOutOfRange(
                f"spk_id is {options.speaker_id}; the speakers of the voice {self.voice.name} are "
                f"0 to {self.voice.n_speakers - 1}.",
                param="spk_id",
                value=options.speaker_id,
            )
        if self.voice.uses_f0 and f0_estimator is None:
            raise InvalidOption(
                f"The voice {self.voice.name} uses F0: an F0 estimator is needed.",
                param="f0_method",
            )

    def _melody(
        self,
        padded: npt.NDArray[np.float64],
        options: ConversionOptions,
        f0_estimator: F0Estimator | None,
        run: Run,
    ) -> tuple[Melody | None, Samples]:
        if not self.voice.uses_f0 or f0_estimator is None:
            return None, np.zeros(0, np.float32)
        run.report("f0", 0, 1)
        n_frames = len(padded) // _HOP
        with run.stage("f0"):
            if options.compatibility == "official":
                # In one go, and unvoiced frames are filled before the extra ones are dropped.
                detected = f0_estimator.estimate(padded, n_frames + f0_estimator.extra_frames)
            else:
                detected = estimate_in_blocks(f0_estimator, padded, n_frames, token=run.token)
            frame_rate = self.voice.config.frame_rate
            curve = np.asarray(detected, np.float64)
            melody = plan_melody(curve, options, self.voice.facts.f0_median, frame_rate)
        run.report("f0", 1, 1)
        edge = CONTEXT // _HOP
        heard = detected[edge : n_frames - edge].astype(np.float32)
        return melody.frames(0, int(n_frames * frame_rate / DETECTOR_RATE)), heard

    def _synthesize(
        self, maker: PieceMaker, recording: npt.NDArray[np.float64], source: Audio
    ) -> Samples:
        """Samples at the voice's rate, in shorter pieces if the device is out of memory."""
        if maker.options.compatibility == "official":
            return official_pieces(maker, recording)
        wanted = max(
            math.ceil(Fraction(len(source.samples) * self.voice.sample_rate, source.sample_rate)),
            SHORTEST * self.voice.sample_rate // SAMPLE_RATE,
        )
        for timing in TIMINGS:
            samples = self._try_pieces(maker, recording, wanted, timing)
            if samples is None and self._make_room() > 0:
                samples = self._try_pieces(maker, recording, wanted, timing)
            if samples is not None:
                return samples
        raise OutOfMemory(
            f"The device {self.voice.device} is out of memory, even for pieces of "
            f"{TIMINGS[-1].chunk_s} s."
        )

    def _try_pieces(
        self,
        maker: PieceMaker,
        recording: npt.NDArray[np.float64],
        wanted: int,
        timing: ChunkTiming,
    ) -> Samples | None:
        try:
            return standard_pieces(maker, recording, wanted, timing)
        except torch.OutOfMemoryError:
            return None  # the traceback, which holds tensors, is gone before the next try

    def _finish(self, samples: Samples, options: ConversionOptions, source: Audio) -> Audio:
        """Bring the samples to the rate, length and level that were asked for."""
        rate = options.output_sample_rate or self.voice.sample_rate
        samples = resample(samples, self.voice.sample_rate, rate)
        if options.compatibility != "official":
            wanted = round(Fraction(len(source.samples) * rate, source.sample_rate))
            samples = np.pad(samples, (0, max(0, wanted - len(samples))))[:wanted]
        if options.loudnorm:
            samples = normalise_loudness(samples, rate)
        return Audio(limit_peak(samples), rate)

    def _warnings(self, options: ConversionOptions) -> tuple[str, ...]:
        if options.semitones and not self.voice.uses_f0:
            return (f"The voice {self.voice.name} does not use F0: f0_up_key changes nothing.",)
        return ()
