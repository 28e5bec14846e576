"""Turn the bytes of a recording into mono samples: libsndfile first, FFmpeg for the rest."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from rvc_core.containers import check_complete, is_mpeg_audio, state_wav_size
from rvc_core.errors import AudioTooLong, InvalidAudio, UndecodableAudio
from rvc_core.token import check_current

LOWEST_SAMPLE_RATE, HIGHEST_SAMPLE_RATE = 1_000, 384_000
_BLOCK_VALUES = 1 << 20  # samples of all channels decoded at a time
_MOST_PLANES = 7  # PyAV 18 reads past the end of its list from 8 on, and crashes
_NO_LENGTH = 1 << 62  # libsndfile's frame count of a stream that states none is above

# FFmpeg also reads playlists, and they name files and addresses to open: only formats that hold
# their own samples are allowed. Its caf reader counts for seconds in damaged files.
_AV_OPTIONS = {
    "format_whitelist": "mov,matroska,webm,ogg,mp3,aac,flac,wav,w64,aiff,au,avi,mpegts,mpeg,"
    "flv,asf,amr,amrnb,amrwb,ac3,eac3,ape,wv,tta,dts,loas,tak,dsf",
    "protocol_whitelist": "",
}


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a recording holds: float32 mono `samples`, the mean of its `n_channels` channels."""

    samples: NDArray[np.float32]
    sample_rate: int
    n_channels: int


class _Refused(Exception):
    """A library does not know the format; another one may."""


class _ForLibsndfile(io.BytesIO):
    """Stays in place when damaged headers lead before its start; the callback would print that."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


class _MonoMix:
    """Collects blocks of shape (samples, channels) as mono, up to the limit."""

    def __init__(self, sample_rate: int, max_seconds: float | None) -> None:
        if not LOWEST_SAMPLE_RATE <= sample_rate <= HIGHEST_SAMPLE_RATE:
            raise InvalidAudio(
                f"The audio has a sample rate of {sample_rate} Hz; allowed is "
                f"{LOWEST_SAMPLE_RATE} to {HIGHEST_SAMPLE_RATE}.",
                value=sample_rate,
            )
        self.sample_rate = sample_rate
        self.max_seconds = max_seconds
        self.n_samples = 0
        self._blocks: list[NDArray[np.float32]] = []

    def check_length(self, n_samples: int, stated: bool = False) -> None:
        """Raise `AudioTooLong` if that many samples are over the limit."""
        if self.max_seconds is None or n_samples <= self.max_seconds * self.sample_rate:
            return
        seconds = round(n_samples / self.sample_rate, 3) if stated else self.max_seconds
        lasts = f"{seconds:g} s" if stated else f"over {seconds:g} s"
        raise AudioTooLong(
            f"The audio lasts {lasts}; at most {self.max_seconds:g} s are allowed.", value=seconds
        )

    def add(self, block: NDArray[Any]) -> None:
        """Append a block; values beyond float32 become infinite and are reported later."""
        check_current()
        self.n_samples += len(block)
        self.check_length(self.n_samples)
        with np.errstate(over="ignore", invalid="ignore"):
            mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
            self._blocks.append(mono.astype(np.float32))

    def finish(self, n_channels: int) -> Decoded:
        """Return everything added."""
        blocks = self._blocks or [np.zeros(0, np.float32)]
        return Decoded(np.concatenate(blocks), self.sample_rate, n_channels)


def decode(data: bytes, max_seconds: float | None) -> Decoded:
    """Decode by the first library that knows the format; raise `UndecodableAudio` if none does."""
    reasons = []
    # libsndfile's MPEG decoder writes warnings to stderr, and FFmpeg's plays the same samples.
    libraries = (_with_av,) if is_mpeg_audio(data) else (_with_soundfile, _with_av)
    for library in libraries:
        try:
            return library(data, max_seconds)
        except _Refused as refusal:
            reasons.append(str(refusal))
    raise UndecodableAudio(f"The file is no audio that can be decoded ({'; '.join(reasons)}).")


def _with_soundfile(data: bytes, max_seconds: float | None) -> Decoded:
    if data.startswith(b"RIFF"):
        data = state_wav_size(data)
    try:
        file = soundfile.SoundFile(_ForLibsndfile(data))
    except soundfile.LibsndfileError as error:
        raise _Refused(f"libsndfile: {_one_line(error.error_string)}") from None
    with file:
        if file.frames >= _NO_LENGTH:
            raise _Refused("libsndfile: the header states no length")
        mix = _MonoMix(file.samplerate, max_seconds)
        mix.check_length(file.frames, stated=True)
        if file.format in ("WAV", "WAVEX"):
            check_complete(data, "wav")
        _read_blocks(file, mix)
        return mix.finish(file.channels)


def _read_blocks(file: soundfile.SoundFile, mix: _MonoMix) -> None:
    block_frames = max(1, _BLOCK_VALUES // file.channels)
    try:
        while len(block := file.read(block_frames, dtype="float32", always_2d=True)):
            mix.add(block)
    except soundfile.LibsndfileError as error:
        raise UndecodableAudio(
            f"The {file.format.lower()} audio is truncated or damaged: its header states "
            f"{file.frames} samples, they cannot all be decoded "
            f"(libsndfile: {_one_line(error.error_string)})."
        ) from None


def _with_av(data: bytes, max_seconds: float | None) -> Decoded:
    try:
        container = av.open(io.BytesIO(data), "r", options=_AV_OPTIONS, metadata_errors="ignore")
    except av.FFmpegError as error:
        raise _Refused(f"FFmpeg: {_one_line(error.strerror)}") from None
    with container:
        stream = container.streams.best("audio")
        if not isinstance(stream, av.AudioStream):
            raise _Refused(f"FFmpeg: {_short_name(container)} without sound")
        known = {"mp3": "mp3", "mov,mp4,m4a,3gp,3g2,mj2": "mp4", "wav": "wav"}
        if container.format.name in known:
            check_complete(data, known[container.format.name])
        return _mix_frames(_frames(container, stream), max_seconds)


def _frames(
    container: av.container.InputContainer, stream: av.AudioStream
) -> Iterator[av.AudioFrame]:
    """Decode packet by packet; damaged ones are left out while most are whole."""
    n_packets = n_damaged = 0
    try:
        for packet in container.demux(stream):
            n_packets += 1
            try:
                frames = packet.decode()
            except av.FFmpegError:
                n_damaged += 1
            else:
                yield from (frame for frame in frames if isinstance(frame, av.AudioFrame))
    except (av.FFmpegError, IndexError) as error:  # IndexError: a packet of no known stream
        raise UndecodableAudio(
            f"The {_short_name(container)} audio is damaged (FFmpeg: {_one_line(str(error))})."
        ) from None
    if n_damaged > n_packets // 2:
        raise UndecodableAudio(
            f"The {_short_name(container)} audio is damaged: {n_damaged} of its {n_packets} "
            "packets cannot be decoded."
        )


def _mix_frames(frames: Iterator[av.AudioFrame], max_seconds: float | None) -> Decoded:
    mix, n_channels = None, 1
    for frame in frames:
        if mix is None:
            mix = _MonoMix(frame.sample_rate, max_seconds)
            n_channels = frame.layout.nb_channels
        if frame.sample_rate != mix.sample_rate:
            raise UndecodableAudio(
                f"The audio changes its sample rate from {mix.sample_rate} to "
                f"{frame.sample_rate} Hz after {mix.n_samples / mix.sample_rate:.1f} s."
            )
        mix.add(_to_float(frame))
    if mix is None:
        return Decoded(np.zeros(0, np.float32), LOWEST_SAMPLE_RATE, n_channels)
    return mix.finish(n_channels)


def _to_float(frame: av.AudioFrame) -> NDArray[Any]:
    """Return the samples of `frame` in [-1, 1], shape (samples, channels)."""
    n_channels = frame.layout.nb_channels
    if frame.format.is_planar and n_channels > _MOST_PLANES:
        frame = _to_packed(frame)
    values = frame.to_ndarray()  # (channels, samples), or (1, samples * channels) if packed
    values = values.T if frame.format.is_planar else values.reshape(-1, n_channels)
    if values.dtype.kind == "f":
        return values
    full_scale = 2.0 ** (8 * values.dtype.itemsize - 1)
    if values.dtype.kind == "u":
        return values / full_scale - 1.0
    return values / full_scale


def _to_packed(frame: av.AudioFrame) -> av.AudioFrame:
    """Return `frame` with its channels side by side in one plane."""
    name = frame.layout.name
    try:
        (packed,) = av.AudioResampler(frame.format.packed.name, name).resample(frame)
    except ValueError as error:
        raise UndecodableAudio(f"The audio has channels of unknown places ({name}).") from error
    return packed


def _short_name(container: av.container.InputContainer) -> str:
    return container.format.name.split(",")[0]


def _one_line(text: str | None) -> str:
    return " ".join((text or "unknown error").split()).rstrip(".")
