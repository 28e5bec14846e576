"""Samples to the bytes of an audio file, part by part: what was made can be sent at once.

However the samples are parted, the bytes are the same, but for the random number of an ogg
stream; so a file is its stream, put together.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from rvc_core.errors import EmptyAudio, InvalidOption
from rvc_core.loudness import to_pcm16
from rvc_core.resampling import Resampler
from rvc_core.token import check_current

Samples = NDArray[np.float32]

AUDIO_FORMATS: Mapping[str, str] = MappingProxyType(
    {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg", "ogg": "audio/ogg"}
)
BLOCK = 4096  # samples at a time; libsndfile overflows the stack with many at once for Vorbis
_WAV_HEADER_BYTES = 44
_FLAC_TOTAL = slice(18, 26)  # of the first bytes: rate, channels, width, and 36 bits of length
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_MP3_BITS_PER_SECOND = 192_000
_MP3_LEAD, _MP3_TAIL = 576, 529  # samples that the encoder and a decoder put before the first


class Encoder(Protocol):
    """Makes one file; it has `n_bytes`, where that is known from the start."""

    sample_rate: int
    n_bytes: int | None

    def push(self, samples: Samples) -> bytes:
        """The bytes that are ready, given the next samples."""

    def finish(self) -> bytes:
        """The bytes that are left."""


def open_encoder(audio_format: str, sample_rate: int, n_samples: int) -> Encoder:
    """An encoder for `n_samples` in all: 16-bit wav or flac, mp3 of 192 kbit/s, Vorbis in ogg.

    mp3 is written at the next rate that the format has, for 40 kHz that is 44.1 kHz.
    Raise `InvalidOption` or `EmptyAudio`.
    """
    check_format(audio_format)
    if n_samples == 0:
        raise EmptyAudio("There are no samples to write.")
    makers: dict[str, Callable[[int, int], Encoder]] = {
        "wav": _Wav,
        "flac": _open_flac,
        "mp3": _open_mp3,
        "ogg": _open_ogg,
    }
    return makers[audio_format](sample_rate, n_samples)


def check_format(audio_format: str) -> None:
    """Raise `InvalidOption` unless `audio_format` can be written."""
    if audio_format not in AUDIO_FORMATS:
        raise InvalidOption(
            f"The audio format {audio_format!r} cannot be written; there are "
            f"{', '.join(AUDIO_FORMATS)}.",
            param="response_format",
            value=audio_format,
        )


def encode_samples(samples: Samples, sample_rate: int, audio_format: str) -> bytes:
    """A whole file of `samples`."""
    encoder = open_encoder(audio_format, sample_rate, len(samples))
    return b"".join([encoder.push(samples), encoder.finish()])


class _Wav:
    def __init__(self, sample_rate: int, n_samples: int) -> None:
        self.sample_rate = sample_rate
        self.n_bytes: int | None = _WAV_HEADER_BYTES + 2 * n_samples
        self._header = _wav_header(sample_rate, 2 * n_samples)

    def push(self, samples: Samples) -> bytes:
        header, self._header = self._header, b""
        return header + to_pcm16(samples).astype("<i2").tobytes()

    def finish(self) -> bytes:
        return b""


class _Sndfile:
    """libsndfile's encoders."""

    def __init__(self, sample_rate: int, kind: tuple[str, str], out: _OneWay) -> None:
        self.sample_rate = sample_rate
        self.n_bytes: int | None = None
        container, subtype = kind
        self._out = out
        self._waiting: Samples = np.zeros(0, np.float32)
        self._file = soundfile.SoundFile(
            out, "w", sample_rate, 1, subtype=subtype, format=container
        )

    def push(self, samples: Samples) -> bytes:
        # In blocks of one length: what Vorbis makes of samples depends on how it gets them.
        samples = np.concatenate([self._waiting, samples])
        n_whole = len(samples) // BLOCK * BLOCK
        self._waiting = samples[n_whole:]
        self._write(samples[:n_whole])
        return self._out.take()

    def finish(self) -> bytes:
        self._write(self._waiting)
        self._file.close()
        return self._out.take()

    def _write(self, samples: Samples) -> None:
        for block in _blocks(samples):
            self._file.write(to_pcm16(block))


def _open_flac(sample_rate: int, n_samples: int) -> Encoder:
    if sample_rate > 65_535 and sample_rate % 10:
        raise InvalidOption(
            f"flac has no rate of {sample_rate} Hz: above 65535 it takes multiples of 10.",
            param="resample_sr",
            value=sample_rate,
        )
    out = _OneWay(lambda first: _state_flac_length(first, n_samples))
    return _Sndfile(sample_rate, ("FLAC", "PCM_16"), out)


def _open_ogg(sample_rate: int, n_samples: int) -> Encoder:
    return _Sndfile(sample_rate, ("OGG", "VORBIS"), _OneWay(lambda first: first))


class _Mp3:
    """FFmpeg's encoder at a `rate` that the format has."""

    def __init__(self, given_rate: int, rate: int, out: _OneWay) -> None:
        self.sample_rate = rate
        self.n_bytes: int | None = None
        self._out = out
        self._resampler = Resampler(given_rate, rate)
        self._container = av.open(out, "w", format="mp3")
        stream = self._container.add_stream("libmp3lame", rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate, stream.format, stream.layout = _MP3_BITS_PER_SECOND, "s16p", "mono"
        self._stream = stream

    def push(self, samples: Samples) -> bytes:
        for block in _blocks(samples):
            self._encode(self._resampler.push(block))
        return self._out.take()

    def finish(self) -> bytes:
        self._encode(self._resampler.finish())
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._out.take()

    def _encode(self, samples: Samples) -> None:
        if len(samples) > 0:
            pcm = to_pcm16(samples)[None]  # (1, samples)
            frame = av.AudioFrame.from_ndarray(pcm, format="s16p", layout="mono")
            frame.sample_rate = self.sample_rate
            self._container.mux(self._stream.encode(frame))


class _OneWay(io.RawIOBase):
    """A file that only grows: what a library writes over its beginning, in the end, is dropped.

    So the beginning must be true from the start: `amend` gets the first bytes and corrects them.
    """

    def __init__(self, amend: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._amend: Callable[[bytes], bytes] | None = amend
        self._ready = bytearray()
        self._place = self._length = 0

    def take(self) -> bytes:
        """What was written since the last call."""
        ready = bytes(self._ready)
        self._ready.clear()
        if ready and self._amend is not None:
            ready, self._amend = self._amend(ready), None
        return ready

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        data = bytes(data)
        self._ready += data[max(0, self._length - self._place) :]
        self._place += len(data)
        self._length = max(self._length, self._place)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + (0, self._place, self._length)[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _blocks(samples: Samples) -> Iterator[Samples]:
    for start in range(0, len(samples), BLOCK):
        check_current()
        yield samples[start : start + BLOCK]


def _wav_header(sample_rate: int, n_bytes: int) -> bytes:
    return struct.pack(
        *("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + n_bytes, b"WAVE", b"fmt ", 16, 1, 1),
        *(sample_rate, 2 * sample_rate, 2, 16, b"data", n_bytes),
    )


def _state_flac_length(first: bytes, n_samples: int) -> bytes:
    """Put the number of samples, which the library learns in the end, into the stream's header."""
    facts = int.from_bytes(first[_FLAC_TOTAL], "big") >> 36 << 36 | n_samples
    return first[: _FLAC_TOTAL.start] + facts.to_bytes(8, "big") + first[_FLAC_TOTAL.stop :]


def _open_mp3(sample_rate: int, n_samples: int) -> Encoder:
    above = [rate for rate in _MP3_RATES if rate >= sample_rate]
    rate = above[0] if above else _MP3_RATES[-1]
    n_written = -(-n_samples * rate // sample_rate)
    out = _OneWay(lambda first: _state_mp3_length(first, rate, n_written))
    return _Mp3(sample_rate, rate, out)


def _state_mp3_length(first: bytes, rate: int, n_samples: int) -> bytes:
    """Put the number of frames, and of samples to drop at the end, into the frame of facts."""
    frame, extra = (1152, 1) if rate >= 32_000 else (576, 2)
    n_frames = -(-n_samples // frame) + extra
    surplus = min(n_frames * frame - n_samples - _MP3_LEAD, frame + _MP3_TAIL)
    tag = first.index(b"Xing")
    known = struct.pack(">4s4sII", b"Info", first[tag + 4 : tag + 8], n_frames, 0)  # 0: no size
    padding = (_MP3_LEAD << 12 | surplus).to_bytes(3, "big")
    return first[:tag] + known + first[tag + 16 : tag + 141] + padding + first[tag + 144 :]
