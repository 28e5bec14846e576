from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvc_core.audio import Audio, encode_audio, read_audio
from rvc_core.errors import (
    AudioTooLong,
    EmptyAudio,
    InvalidAudio,
    NonFiniteAudio,
    UndecodableAudio,
)
from tests.rvc_core.recordings import by_av, by_soundfile, dominant_hz, sine, video

RATE = 44_100
TONE = sine(0.5, RATE)


@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [
        ("PCM_U8", 2**-7),
        ("PCM_16", 2**-15),
        ("PCM_24", 2**-23),
        ("PCM_32", 2**-24),
        ("FLOAT", 0),
        ("DOUBLE", 0),
        ("ALAW", 0.02),
        ("ULAW", 0.02),
    ],
)
def test_every_width_of_wav_is_read(subtype: str, tolerance: float) -> None:
    audio = read_audio(by_soundfile(TONE, RATE, "WAV", subtype))
    assert (audio.sample_rate, audio.n_channels) == (RATE, 1)
    assert audio.samples.dtype == np.float32
    np.testing.assert_allclose(audio.samples, TONE, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF", "CAF", "W64", "RF64", "AU"])
def test_lossless_formats_keep_every_sample(kind: str) -> None:
    pcm = np.random.default_rng(0).integers(-32768, 32768, 12_345).astype(np.int16)
    audio = read_audio(by_soundfile(pcm, 11_025, kind, "PCM_16"))
    np.testing.assert_array_equal(audio.samples * 32768, pcm)
    assert audio.sample_rate == 11_025


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("mp3", "libmp3lame", RATE),
        ("wav", "libmp3lame", RATE),
        ("mp4", "aac", RATE),
        ("adts", "aac", 32_000),
        ("webm", "libopus", 48_000),
        ("ogg", "libopus", 48_000),
        ("matroska", "pcm_f64le", RATE),
        ("matroska", "pcm_u8", RATE),
        ("matroska", "pcm_s24le", RATE),
        ("matroska", "wavpack", RATE),
        ("mov", "alac", RATE),
        ("asf", "wmav2", RATE),
    ],
)
def test_other_formats_are_read(container: str, codec: str, rate: int) -> None:
    audio = read_audio(by_av(sine(1.0, rate), rate, container, codec))
    assert audio.sample_rate == rate
    assert audio.duration_s == pytest.approx(1.0, abs=0.06)
    assert dominant_hz(audio.samples, rate) == pytest.approx(440.0, abs=2.0)
    middle = audio.samples[rate // 4 : rate // 2]  # encoders blur the ends
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.05)


def test_the_sound_of_a_video_is_read() -> None:
    audio = read_audio(video(sine(1.0, RATE), RATE))
    assert dominant_hz(audio.samples, RATE) == pytest.approx(440.0, abs=2.0)


def test_mp3_starts_where_the_recording_started() -> None:
    click = np.zeros(RATE, np.float32)
    click[5_000] = 0.9
    audio = read_audio(encode_audio(Audio(click, RATE), "mp3"))
    assert np.argmax(np.abs(audio.samples)) == 5_000
    assert len(audio.samples) == RATE


@pytest.mark.parametrize("n_channels", [2, 3, 6, 64])
def test_channels_are_averaged(n_channels: int) -> None:
    channels = np.outer(TONE, np.linspace(0.1, 1.0, n_channels)).astype(np.float32)
    audio = read_audio(by_soundfile(channels, RATE, "WAV", "FLOAT"))
    assert audio.n_channels == n_channels
    np.testing.assert_allclose(audio.samples, channels.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("layout", ["stereo", "5.1", "7.1", "hexadecagonal"])
def test_channels_in_planes_of_their_own_are_averaged(layout: str) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("aac", rate=48_000, layout=layout, format="fltp")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame(format="flt", layout=layout, samples=48_000)
        for plane in frame.planes:
            plane.update(np.repeat(sine(1.0, 48_000), frame.layout.nb_channels).tobytes())
        frame.sample_rate = 48_000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    audio = read_audio(file.getvalue())
    assert audio.n_channels == av.AudioLayout(layout).nb_channels
    assert dominant_hz(audio.samples, 48_000) == pytest.approx(440.0, abs=2.0)


@settings(max_examples=25, deadline=None)
@given(
    n_samples=st.integers(1, 5_000),
    rate=st.sampled_from([1_000, 8_000, 37_800, 96_000, 192_000, 384_000]),
    n_channels=st.integers(1, 5),
)
def test_any_length_rate_and_channel_count_is_read(
    n_samples: int, rate: int, n_channels: int
) -> None:
    samples = np.zeros((n_samples, n_channels), np.float32)
    audio = read_audio(by_soundfile(samples, rate, "WAV", "FLOAT"))
    assert (len(audio.samples), audio.sample_rate) == (n_samples, rate)


@pytest.mark.parametrize("rate", [999, 384_001])
def test_a_sample_rate_out_of_range_is_refused(rate: int) -> None:
    with pytest.raises(InvalidAudio, match=f"sample rate of {rate} Hz; allowed is 1000 to 384000"):
        read_audio(by_soundfile(TONE, rate, "WAV"))


def test_a_file_is_read_whatever_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "tone.raw"
    path.write_bytes(by_soundfile(TONE, RATE, "FLAC"))
    assert len(read_audio(path).samples) == len(TONE)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UndecodableAudio, match=r"gone\.wav cannot be read: No such file"):
        read_audio(tmp_path / "gone.wav")


@pytest.mark.parametrize("data", [b"", by_soundfile(TONE[:0], RATE, "WAV")])
def test_nothing_to_convert_is_empty_audio(data: bytes) -> None:
    with pytest.raises(EmptyAudio):
        read_audio(data)


NOT_AUDIO = {
    "text": b"These are words, not samples.\n" * 99,
    "random": np.random.default_rng(4).bytes(40_000),
    "picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde" + bytes(60),
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hostname\n",
    "script": b"ffconcat version 1.0\nfile /etc/hostname\n",
    "half a header": by_soundfile(TONE, RATE, "WAV")[:20],
    "half a tag": b"ID3\4\0\0\0\0\2\1",
    "zeros": bytes(5_000),
}


@pytest.mark.parametrize("kind", NOT_AUDIO)
def test_what_is_no_audio_is_refused_in_one_line(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UndecodableAudio, match="FFmpeg: ") as caught:
        read_audio(NOT_AUDIO[kind])
    assert "\n" not in str(caught.value)
    assert "not permitted" not in str(caught.value)  # FFmpeg tried to open what a list names
    assert capfd.readouterr() == ("", "")


def test_a_silent_video_is_refused() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        picture = output.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        output.mux(picture.encode(black))
        output.mux(picture.encode(None))
    with pytest.raises(UndecodableAudio, match="without sound"):
        read_audio(file.getvalue())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_samples_that_are_no_numbers_are_counted_and_placed(value: float) -> None:
    samples = sine(1.0, 16_000).astype(np.float64)
    samples[[4_000, 9_000]] = value
    with pytest.raises(NonFiniteAudio, match=r"has 2 samples .* the first at 0\.250 s"):
        read_audio(by_soundfile(samples, 16_000, "WAV", "DOUBLE"))


def test_audio_of_just_the_limit_is_read() -> None:
    assert read_audio(by_soundfile(TONE, RATE, "WAV"), max_seconds=0.5).duration_s == 0.5


@pytest.mark.parametrize(
    "data",
    [
        by_soundfile(sine(2.0, RATE), RATE, "WAV"),
        by_soundfile(sine(2.0, RATE), RATE, "OGG"),
        by_av(sine(2.0, RATE), RATE, "mp3", "libmp3lame"),
        by_av(sine(2.0, 48_000), 48_000, "webm", "libopus"),
    ],
    ids=["wav", "ogg", "mp3", "webm"],
)
def test_longer_audio_is_refused(data: bytes) -> None:
    with pytest.raises(AudioTooLong, match=r"at most 1\.5 s are allowed"):
        read_audio(data, max_seconds=1.5)


def hours_of_silence() -> bytes:
    data = bytearray(by_soundfile(np.zeros(48_000, np.float32), 48_000, "FLAC"))
    data[22:26] = (2 * 3600 * 48_000).to_bytes(4, "big")  # the low bits of the sample count
    return bytes(data)


def test_a_stated_length_over_the_limit_is_refused_before_decoding() -> None:
    data = hours_of_silence()
    tracemalloc.start()
    with pytest.raises(AudioTooLong, match="lasts 7200 s; at most 600 s"):
        read_audio(data, max_seconds=600)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_stated_length_is_not_believed_without_samples() -> None:
    with pytest.raises(UndecodableAudio, match="truncated or damaged"):
        read_audio(hours_of_silence())


def test_flac_that_states_no_length_is_read_to_its_end() -> None:
    data = bytearray(by_soundfile(TONE, RATE, "FLAC"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    assert len(read_audio(bytes(data)).samples) == len(TONE)
