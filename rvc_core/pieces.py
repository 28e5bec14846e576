"""Synthesis piece by piece: what each piece hears, computes and keeps.

A piece hears its chunk with a second of context on each side. It lies on the frames of the whole
recording, so that neighbouring pieces share phase and noise; it decodes only what it keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rvc_core.chunks import (
    GROWING_TIMING,
    HOP_LENGTH,
    OFFICIAL_TIMING,
    SHORTER_TIMINGS,
    Chunk,
    ChunkTiming,
    Joiner,
    split_at_quiet_points,
)
from rvc_core.content import CONTENT_FRAME_RATE, ContentEncoder
from rvc_core.errors import NonFiniteOutput, OutOfMemory
from rvc_core.frontend import CONTEXT, SAMPLE_RATE
from rvc_core.growing_melody import GrowingMelody
from rvc_core.melody import DETECTOR_RATE, Melody
from rvc_core.noise import NoiseField
from rvc_core.options import ConversionOptions
from rvc_core.retrieval import FeatureIndex
from rvc_core.run import Run
from rvc_core.synthesizer import Pitch, Synthesizer
from rvc_core.voice import Voice

Samples = npt.NDArray[np.float32]
Recording = npt.NDArray[np.float64]

FADE_S = 0.02  # length of the cross-fade between pieces


@dataclass(frozen=True)
class Models:
    """What a conversion is computed with."""

    voice: Voice
    content_encoder: ContentEncoder
    index: FeatureIndex | None


@dataclass(frozen=True)
class Piece:
    """Samples heard, of the padded recording at 16 kHz; and the output samples kept of it.

    `keep` counts from the start of the padded recording, at the voice's rate; None keeps all but
    the context.
    """

    start: int
    stop: int
    keep: tuple[int, int] | None = None


class PieceMaker:
    """Computes pieces of one recording."""

    def __init__(
        self,
        models: Models,
        options: ConversionOptions,
        padded: Recording,
        melody: GrowingMelody | None,
        run: Run,
    ) -> None:
        self.options = options
        self.voice = models.voice
        self.run = run
        self._models = models
        self._padded = padded
        self._growing = melody
        self._melody: Melody | None = None
        self._pitch: Pitch | None = None
        self._noise = NoiseField(options.seed)

    def make(self, piece: Piece) -> Samples:
        """Samples of `piece` at the voice's rate."""
        config = self.voice.config
        self._follow_melody(math.ceil(piece.stop * config.frame_rate / SAMPLE_RATE))
        with self.run.stage("feature"):
            content, retrieved = self._content(piece)
            first = int(piece.start * config.frame_rate / SAMPLE_RATE)
            n_frames = self._count_frames(piece, first, len(content))
            frames = np.arange(first, first + n_frames)
            content, retrieved = self._stretch(frames, piece, content, retrieved)
            content = self._protect(content, retrieved, first)
        with self.run.stage("synth"):
            return self._synthesize(content, first, piece)

    def _follow_melody(self, n_frames: int) -> None:
        if self._growing is not None:
            self._melody, self._pitch = self._growing.until(n_frames)

    def _content(self, piece: Piece) -> tuple[Samples, Samples]:
        """Features of the piece as encoded, and with those of the index blended in."""
        device = self.voice.device
        heard = torch.from_numpy(self._padded[piece.start : piece.stop].astype(np.float32))
        encoder = self._models.content_encoder
        content = (
            encoder.encode(heard.to(device), self.voice.config.content_dim).float().cpu().numpy()
        )
        index = self._models.index
        if index is None or self.options.index_rate == 0:
            return content, content
        return content, index.blend(content, self.options.index_rate)

    def _count_frames(self, piece: Piece, first: int, n_content: int) -> int:
        """Frames that the recording, the content and the pitch all reach."""
        config = self.voice.config
        counts = [int(piece.stop * config.frame_rate / SAMPLE_RATE) - first]
        if config.frame_rate == DETECTOR_RATE:
            counts.append(2 * n_content)
        if self._growing is not None:
            counts.append(self._growing.n_frames - first)
        return min(counts)

    def _stretch(
        self, frames: npt.NDArray[np.int64], piece: Piece, *features: Samples
    ) -> tuple[Samples, ...]:
        """Features at the voice's frames: each twice for RVC's 100 a second, else in between."""
        rate = self.voice.config.frame_rate
        if rate == DETECTOR_RATE:
            return tuple(feature.repeat(2, axis=0)[: len(frames)] for feature in features)
        seconds = (frames + 0.5) / rate - piece.start / SAMPLE_RATE
        places = np.clip(seconds * CONTENT_FRAME_RATE - 0.5, 0, len(features[0]) - 1)
        below = places.astype(np.int64)
        above = np.minimum(below + 1, len(features[0]) - 1)
        share = (places - below).astype(np.float32)[:, None]
        return tuple(f[below] * (1 - share) + f[above] * share for f in features)

    def _protect(self, content: Samples, retrieved: Samples, first: int) -> Samples:
        """Less of the index where the recording is unvoiced."""
        if self._melody is None or self.options.protect >= 0.5:
            return retrieved
        guarded = self._melody.frames(first, first + len(content)).protected[:, None]
        share = np.where(guarded, np.float32(self.options.protect), np.float32(1))
        protected: Samples = retrieved * share + content * (1 - share)
        return protected

    def _synthesize(self, content: Samples, first: int, piece: Piece) -> Samples:
        network = self.voice.network(self.options.precision)
        samples = self._run_network(network, content, first, piece)
        if not np.isfinite(samples).all() and network is not self.voice.synthesizer:
            samples = self._run_network(self.voice.synthesizer, content, first, piece)
        if not np.isfinite(samples).all():
            raise NonFiniteOutput(
                f"The voice {self.voice.name} gave samples that are NaN or infinite."
            )
        return samples

    def _run_network(
        self, network: Synthesizer, content: Samples, first: int, piece: Piece
    ) -> Samples:
        """Latent of all frames, then samples of those that are kept, with the decoder's reach."""
        config, speaker_id = self.voice.config, self.options.speaker_id
        hop, stop = config.hop_length, first + len(content)
        keep_start, keep_stop = piece.keep or self._all_but_context(first, stop)
        reach = config.generator.receptive_frames()
        decode_start = max(first, keep_start // hop - reach)
        decode_stop = min(stop, -(-keep_stop // hop) + reach)
        device, dtype = self.voice.device, network.emb_g.weight.dtype
        pitch = self._pitch_of(first, stop, device)
        noise = self._noise.latent(first, stop, config.generator.channels_in)
        latent = network.latent(
            torch.from_numpy(content).to(device, dtype),
            None if pitch is None else pitch.f0_bins,
            speaker_id,
            noise.to(device, dtype) * (self.options.noise_scale or 0.0),
        )[:, :, decode_start - first : decode_stop - first]
        if pitch is not None:
            pitch = pitch.frames(decode_start - first, decode_stop - first)
        excitation = self._excitation(decode_start, decode_stop).to(device)
        samples = network.decode(latent, pitch, speaker_id, excitation).cpu().numpy()
        offset = decode_start * hop
        return np.asarray(samples[keep_start - offset : keep_stop - offset], np.float32)

    def _all_but_context(self, first: int, stop: int) -> tuple[int, int]:
        hop, context = self.voice.config.hop_length, self.voice.sample_rate
        return first * hop + context, stop * hop - context

    def _pitch_of(self, first: int, stop: int, device: torch.device) -> Pitch | None:
        """Pitch of the piece; official RVC starts each piece at phase 0."""
        if self._melody is None or self._pitch is None:
            return None
        pitch = self._pitch.frames(first, stop)
        if self.options.compatibility == "official":
            pitch = self._melody.frames(first, stop).pitch(self.voice.config)
        return Pitch(pitch.f0.to(device), pitch.f0_bins.to(device), pitch.phase.to(device))

    def _excitation(self, start: int, stop: int) -> Tensor:
        noise = self._noise.source(start, stop, self.voice.config.hop_length)
        return noise * self.options.source_noise


def standard_pieces(
    maker: PieceMaker, recording: Recording, wanted: int, make_room: Callable[[], int]
) -> Iterator[Samples]:
    """`wanted` samples at the voice's rate, part by part; pieces cross-fade where they meet.

    Where the device is out of memory, the rest is done in shorter pieces: raises `OutOfMemory`
    if that does not help.
    """
    fade = round(FADE_S / 2 * maker.voice.sample_rate)
    joiner, plan = Joiner(2 * fade), _Plan(recording, make_room)
    while plan.is_open:
        maker.run.report("synth", plan.n_done, len(plan.chunks))
        piece = _faded_piece(plan, maker.voice.sample_rate, wanted, fade)
        samples = _try_piece(maker, piece)
        if samples is not None:
            plan.n_done += 1
            yield joiner.add(samples, is_last=not plan.is_open)
        else:
            plan.relieve(maker.voice.device)
    maker.run.report("synth", plan.n_done, len(plan.chunks))


def official_pieces(maker: PieceMaker, recording: Recording) -> Iterator[Samples]:
    """What official RVC gives: cuts on its own grid, the last 10 or 20 ms of each piece lost."""
    chunks = split_at_quiet_points(recording, OFFICIAL_TIMING, grid=HOP_LENGTH, shortest=0)
    for number, chunk in enumerate(chunks):
        maker.run.report("synth", number, len(chunks))
        extra = HOP_LENGTH if number + 1 < len(chunks) else 0
        yield maker.make(Piece(chunk.start, chunk.stop + 2 * CONTEXT + extra))
    maker.run.report("synth", len(chunks), len(chunks))


class _Plan:
    """The chunks of a recording, of which `n_done` are done; those to come may become shorter."""

    def __init__(self, recording: Recording, make_room: Callable[[], int]) -> None:
        self.chunks = split_at_quiet_points(recording, GROWING_TIMING)
        self.n_done = 0
        self._recording = recording
        self._make_room = make_room
        self._shorter = list(SHORTER_TIMINGS)
        self._has_asked = False

    @property
    def is_open(self) -> bool:
        """Whether something is to be done."""
        return self.n_done < len(self.chunks)

    def relieve(self, device: torch.device) -> None:
        """Make room, once for each length of chunks, or else make those to come shorter."""
        if not self._has_asked:
            self._has_asked = True
            if self._make_room() > 0:
                return
        failed = self.chunks[self.n_done]
        while self._shorter:
            rest = self._split_from(failed.start, self._shorter.pop(0))
            if rest[0].stop < failed.stop:
                self.chunks[self.n_done :] = rest
                self._has_asked = False
                return
        shortest_s = SHORTER_TIMINGS[-1].aims[0].length_s
        raise OutOfMemory(
            f"The device {device} is out of memory, even for pieces of {shortest_s} s."
        )

    def _split_from(self, start: int, timing: ChunkTiming) -> list[Chunk]:
        chunks = split_at_quiet_points(self._recording[start:], timing)
        return [Chunk(start + chunk.start, start + chunk.stop) for chunk in chunks]


def _faded_piece(plan: _Plan, rate: int, wanted: int, fade: int) -> Piece:
    """The piece of the next chunk, which reaches over its cuts by the length of a fade."""
    chunk = plan.chunks[plan.n_done]
    start, stop = rate, rate + wanted
    if plan.n_done > 0:
        start += round(chunk.start * rate / SAMPLE_RATE) - fade
    if plan.n_done + 1 < len(plan.chunks):
        stop = rate + round(chunk.stop * rate / SAMPLE_RATE) + fade
    return Piece(chunk.start, chunk.stop + 2 * CONTEXT, (start, stop))


def _try_piece(maker: PieceMaker, piece: Piece) -> Samples | None:
    try:
        return maker.make(piece)
    except torch.OutOfMemoryError:
        return None  # the traceback, which holds tensors, is gone before the next try
