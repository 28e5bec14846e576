"""A recording through a voice: the pipeline of RVC, one stage after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from rvc_core.audio import Audio
from rvc_core.content import ContentEncoder
from rvc_core.errors import (
    ContentEncoderMismatch,
    InvalidOption,
    SpeakerOutOfRange,
)
from rvc_core.f0 import F0Estimator
from rvc_core.finishing import official_finish, standard_finish
from rvc_core.frontend import CONTEXT, SAMPLE_RATE, SHORTEST, add_context, prepare
from rvc_core.growing_melody import GrowingMelody
from rvc_core.melody import settle_options
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


@dataclass(frozen=True)
class Part:
    """Samples of a result that follow those of the part before, and what is known of the whole.

    There will be `n_total` samples.
    """

    samples: Samples
    sample_rate: int
    n_total: int
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
        on_part: Callable[[Part], None] = lambda part: None,
    ) -> Conversion:
        """Convert `source`; the result lasts exactly as long, official compatibility aside.

        `on_part` gets the result part by part, as soon as each is made. With `loudnorm` or
        official compatibility there is one part, as they depend on the whole.
        """
        self._check(options, f0_estimator)
        settled = settle_options(options, self.voice.facts.defaults)
        run = Run(token or Token(), on_progress)
        start = time.perf_counter()
        with run.token.governing():
            audio, source_f0 = self._convert(source, settled, f0_estimator, run, on_part)
        run.timings["total"] = time.perf_counter() - start
        return Conversion(audio, run.timings, source_f0, self._warnings(options))

    def _warnings(self, options: ConversionOptions) -> tuple[str, ...]:
        if options.semitones and not self.voice.uses_f0:
            return (f"The voice {self.voice.name} does not use F0: f0_up_key changes nothing.",)
        return ()

    def _convert(
        self,
        source: Audio,
        options: ConversionOptions,
        f0_estimator: F0Estimator | None,
        run: Run,
        on_part: Callable[[Part], None],
    ) -> tuple[Audio, Samples]:
        recording = prepare(source, like_ffmpeg=options.compatibility == "official")
        padded = add_context(recording, reflect=self.voice.facts.content == HUBERT)
        melody = self._melody(padded, options, f0_estimator, run)
        models = Models(self.voice, self.content_encoder, self.index)
        maker = PieceMaker(models, options, padded, melody, run)
        rate = options.output_sample_rate or self.voice.sample_rate
        warnings = self._warnings(options)
        collected = []
        for samples, n_total in self._finished(maker, recording, source, rate):
            if len(samples) > 0:
                run.token.check()
                collected.append(samples)
                on_part(Part(samples, rate, n_total or len(samples), warnings))
        audio = Audio(np.concatenate([np.zeros(0, np.float32), *collected]), rate)
        nothing = np.zeros(0, np.float32)
        return audio, nothing if melody is None else melody.source_f0(CONTEXT // _HOP)

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
    ) -> GrowingMelody | None:
        if not self.voice.uses_f0 or f0_estimator is None:
            return None
        run.report("f0", 0, 1)
        melody = GrowingMelody(padded, options, self.voice, f0_estimator, run)
        melody.until(1)
        run.report("f0", 1, 1)
        return melody

    def _finished(
        self, maker: PieceMaker, recording: npt.NDArray[np.float64], source: Audio, rate: int
    ) -> Iterator[tuple[Samples, int | None]]:
        """Samples of the result, and how many there will be in all, if that is known."""
        rates = self.voice.sample_rate, rate
        if maker.options.compatibility == "official":
            n_total = None
            chain = official_finish(recording, maker.options, rates)
            pieces = official_pieces(maker, recording)
        else:
            n_made = max(_length_at(rates[0], source, math.ceil), _shortest_at(rates[0]))
            n_total = _length_at(rates[1], source, round)
            chain = standard_finish(recording, maker.options, rates, (n_made, n_total))
            pieces = standard_pieces(maker, recording, n_made, self._make_room)
        for samples in pieces:
            yield chain.push(samples), n_total
        yield chain.finish(), n_total


def _length_at(rate: int, source: Audio, rounded: Callable[[Fraction], int]) -> int:
    """Samples that last as long as `source`."""
    return rounded(Fraction(len(source.samples) * rate, source.sample_rate))


def _shortest_at(rate: int) -> int:
    return SHORTEST * rate // SAMPLE_RATE
