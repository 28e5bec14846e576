"""Recordings in and out: read any audio file, resample, write wav, flac and mp3."""

from __future__ import annotations

import io
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from rvc_core.decode import decode
from rvc_core.errors import EmptyAudio, InvalidOption, NonFiniteAudio, UndecodableAudio
from rvc_core.loudness import to_pcm16

AUDIO_FORMATS: Mapping[str, str] = MappingProxyType(
    {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg"}
)
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_MP3_BITS_PER_SECOND = 192_000


@dataclass(frozen=True, eq=False)
class Audio:
    """A mono recording: float32 `samples`, shape (samples,), full scale is 1.

    `n_channels` is how many channels were averaged when it was read.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    n_channels: int = 1

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


def read_audio(source: bytes | Path, max_seconds: float | None = None) -> Audio:
    """Read a recording of any format, rate, width and channel count as mono, at its own rate.

    A file that states more audio than it holds (cut downloads: wav, flac, mp4, mp3 with a frame
    count or cut inside of a frame) is refused; recordings of unknown length (from a pipe or a
    browser) are read to their end. Raises `EmptyAudio`, `UndecodableAudio`, `NonFiniteAudio`,
    `InvalidAudio` (sample rate) or `AudioTooLong`, the last before more than that is decoded.
    """
    data = _read_bytes(source)
    if not data:
        raise EmptyAudio("The audio file is empty.")
    decoded = decode(data, max_seconds)
    if len(decoded.samples) == 0:
        raise EmptyAudio("The audio has no samples.")
    _check_finite(decoded.samples, decoded.sample_rate)
    return Audio(decoded.samples, decoded.sample_rate, decoded.n_channels)


def _read_bytes(source: bytes | Path) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        raise UndecodableAudio(f"{source} cannot be read: {error.strerror}.") from None


def _check_finite(samples: NDArray[np.float32], sample_rate: int) -> None:
    broken = np.flatnonzero(~np.isfinite(samples))
    if len(broken):
        raise NonFiniteAudio(
            f"The audio has {len(broken)} samples that are NaN or infinite, the first at "
            f"{broken[0] / sample_rate:.3f} s.",
            value=len(broken),
        )


def encode_audio(audio: Audio, audio_format: str) -> bytes:
    """Return `audio` as the bytes of a file: 16-bit wav or flac, or mp3 of 192 kbit/s."""
    _check_format(audio_format)
    if len(audio.samples) == 0:
        raise EmptyAudio("There are no samples to write.")
    if audio_format == "mp3":
        return _encode_mp3(audio)
    file = io.BytesIO()
    pcm = to_pcm16(audio.samples)
    soundfile.write(file, pcm, audio.sample_rate, subtype="PCM_16", format=audio_format.upper())
    return file.getvalue()


def write_audio(path: Path, audio: Audio) -> None:
    """Write `audio` in the format of the suffix; another reader never sees half a file."""
    audio_format = path.suffix.lower().removeprefix(".")
    _check_format(audio_format)
    unfinished = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        unfinished.write_bytes(encode_audio(audio, audio_format))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _check_format(audio_format: str) -> None:
    if audio_format not in AUDIO_FORMATS:
        raise InvalidOption(
            f"The audio format {audio_format!r} cannot be written; there are "
            f"{', '.join(AUDIO_FORMATS)}.",
            param="response_format",
            value=audio_format,
        )


def _encode_mp3(audio: Audio) -> bytes:
    """Encode at the next rate that the format has, for 40 kHz that is 44.1 kHz."""
    above = [rate for rate in _MP3_RATES if rate >= audio.sample_rate]
    rate = above[0] if above else _MP3_RATES[-1]
    pcm = to_pcm16(resample(audio.samples, audio.sample_rate, rate))
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate, stream.format, stream.layout = _MP3_BITS_PER_SECOND, "s16p", "mono"
        container.mux(stream.encode(_to_frame(pcm, rate, "s16p")))
        container.mux(stream.encode(None))
    return file.getvalue()


def _to_frame(
    samples: NDArray[np.float32] | NDArray[np.int16], rate: int, sample_format: str
) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(samples[None], format=sample_format, layout="mono")
    frame.sample_rate = rate
    return frame


def resample(samples: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Resample by soxr's HQ recipe to ceil(len(samples) * to_rate / from_rate) samples."""
    if from_rate == to_rate or len(samples) == 0:
        return samples.astype(np.float32)
    length = -(-len(samples) * to_rate // from_rate)
    resampled = soxr.resample(samples.astype(np.float32), from_rate, to_rate, quality="soxr_hq")
    return np.pad(resampled[:length], (0, max(0, length - len(resampled))))


def resample_like_ffmpeg(
    samples: NDArray[np.float32], from_rate: int, to_rate: int
) -> NDArray[np.float32]:
    """Resample as the ffmpeg command does by default; the shortest clips give no samples."""
    if len(samples) == 0:
        return samples.astype(np.float32)
    resampler = av.AudioResampler("flt", "mono", to_rate)
    whole = _to_frame(np.ascontiguousarray(samples, np.float32), from_rate, "flt")
    frames = [*resampler.resample(whole), *resampler.resample(None)]
    return np.concatenate([np.zeros(0, np.float32), *(f.to_ndarray()[0] for f in frames)])


def mono_like_ffmpeg(audio: Audio) -> NDArray[np.float32]:
    """Return the samples that `ffmpeg -ac 1 -f f32le` gives for recordings of 1 or 2 channels.

    It mixes stereo as 0.7071 * (left + right), which is 3 dB above the mean.
    """
    if audio.n_channels != 2:
        return audio.samples
    mixed: NDArray[np.float32] = audio.samples * np.float32(np.sqrt(2))
    return mixed
