"""Recordings made in memory for tests, in every format."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray


def sine(
    seconds: float, rate: int, hz: float = 440.0, amplitude: float = 0.5
) -> NDArray[np.float32]:
    """A tone of `hz`, shape (samples,)."""
    times = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def dominant_hz(samples: NDArray[np.float32], rate: int) -> float:
    """The strongest frequency, to about 1 / duration."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


def by_soundfile(samples: NDArray[Any], rate: int, kind: str, subtype: str | None = None) -> bytes:
    """The bytes of a file of `kind` ("WAV", "FLAC"...); samples (samples,) or (samples, ch)."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def by_av(samples: NDArray[np.float32], rate: int, container: str, codec: str) -> bytes:
    """The bytes of a mono file that FFmpeg writes."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout, stream.bit_rate = "mono", 128_000
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = rate
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def video(samples: NDArray[np.float32], rate: int) -> bytes:
    """An mp4 file with a picture track before its sound."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        picture = output.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        sound = output.add_stream("aac", rate=rate)
        black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        output.mux(picture.encode(black))
        output.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = rate
        output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    return file.getvalue()
