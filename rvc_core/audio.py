"""Recordings in and out: read any audio file, write one of several formats."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from rvc_core.decode import decode
from rvc_core.encoders import AUDIO_FORMATS as AUDIO_FORMATS
from rvc_core.encoders import check_format, encode_samples
from rvc_core.errors import EmptyAudio, NonFiniteAudio, UndecodableAudio
from rvc_core.resampling import resample as resample


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
    """Return `audio` as the bytes of a file in one of `AUDIO_FORMATS`."""
    return encode_samples(audio.samples, audio.sample_rate, audio_format)


def write_audio(path: Path, audio: Audio) -> None:
    """Write `audio` in the format of the suffix; another reader never sees half a file."""
    audio_format = path.suffix.lower().removeprefix(".")
    check_format(audio_format)
    unfinished = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        unfinished.write_bytes(encode_audio(audio, audio_format))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _to_frame(
    samples: NDArray[np.float32] | NDArray[np.int16], rate: int, sample_format: str
) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(samples[None], format=sample_format, layout="mono")
    frame.sample_rate = rate
    return frame


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
