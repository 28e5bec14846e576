from __future__ import annotations

import struct
from pathlib import Path

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rvc_core.audio import (
    AUDIO_FORMATS,
    Audio,
    encode_audio,
    mono_like_ffmpeg,
    read_audio,
    resample,
    resample_like_ffmpeg,
    write_audio,
)
from rvc_core.errors import EmptyAudio, InvalidOption
from tests.rvc_core.recordings import by_soundfile, dominant_hz, sine

bounded = settings(max_examples=25, deadline=None)
lengths = st.integers(1, 20_000)


def noise(n_samples: int, seed: int = 0) -> NDArray[np.float32]:
    samples = np.random.default_rng(seed).uniform(-0.9, 0.9, n_samples)
    return samples.astype(np.float32)


def test_duration_is_in_seconds() -> None:
    assert Audio(np.zeros(24_000, np.float32), 16_000).duration_s == 1.5


@bounded
@given(n_samples=lengths, audio_format=st.sampled_from(["wav", "flac"]))
def test_lossless_formats_give_back_the_integers(n_samples: int, audio_format: str) -> None:
    samples = noise(n_samples)
    back = read_audio(encode_audio(Audio(samples, 40_000), audio_format))
    assert back.sample_rate == 40_000
    np.testing.assert_array_equal(back.samples * 32768, np.trunc(samples * np.float32(32768)))


def test_wav_is_16_bit_pcm_behind_44_bytes_of_header() -> None:
    data = encode_audio(Audio(np.array([0.5, -1.0, 1.0], np.float32), 40_000), "wav")
    assert len(data) == 44 + 6
    assert struct.unpack("<3h", data[44:]) == (16384, -32768, 32767)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 32_000, 40_000, 48_000, 96_000])
def test_mp3_keeps_duration_and_speed(rate: int) -> None:
    back = read_audio(encode_audio(Audio(sine(2.0, rate), rate), "mp3"))
    assert back.duration_s == pytest.approx(2.0, abs=0.06)
    assert dominant_hz(back.samples, back.sample_rate) == pytest.approx(440.0, abs=1.0)


@pytest.mark.parametrize(
    ("rate", "written"), [(40_000, 44_100), (48_000, 48_000), (28_000, 32_000), (192_000, 48_000)]
)
def test_mp3_takes_the_next_rate_it_knows(rate: int, written: int) -> None:
    assert read_audio(encode_audio(Audio(sine(0.5, rate), rate), "mp3")).sample_rate == written


def test_mp3_has_192_kbit_per_second() -> None:
    data = encode_audio(Audio(noise(96_000), 48_000), "mp3")
    assert len(data) * 8 / 2 == pytest.approx(192_000, rel=0.05)


@pytest.mark.parametrize("audio_format", AUDIO_FORMATS)
def test_no_samples_are_refused(audio_format: str) -> None:
    with pytest.raises(EmptyAudio):
        encode_audio(Audio(np.zeros(0, np.float32), 40_000), audio_format)


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        InvalidOption, match="'aiff' cannot be written; there are wav, flac, mp3, ogg"
    ):
        encode_audio(Audio(sine(0.1, 16_000), 16_000), "aiff")


@pytest.mark.parametrize("name", ["a.wav", "b.FLAC", "c.mp3"])
def test_a_file_is_written_in_the_format_of_its_suffix(tmp_path: Path, name: str) -> None:
    audio = Audio(sine(0.3, 16_000), 16_000)
    write_audio(tmp_path / name, audio)
    expected = encode_audio(audio, name.lower().rsplit(".")[-1])
    assert (tmp_path / name).read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.aiff", "a", "wav"])
def test_a_file_of_unknown_suffix_is_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidOption, match="wav, flac, mp3"):
        write_audio(tmp_path / name, Audio(sine(0.1, 16_000), 16_000))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")

    def fail(self: Path, target: Path) -> Path:
        raise PermissionError

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(PermissionError):
        write_audio(path, Audio(sine(0.1, 16_000), 16_000))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@bounded
@given(
    n_samples=lengths,
    from_rate=st.sampled_from([8_000, 16_000, 32_000, 40_000, 48_000]),
    to_rate=st.sampled_from([8_000, 16_000, 22_050, 32_000, 40_000, 44_100, 48_000]),
)
def test_resampling_equals_librosa(n_samples: int, from_rate: int, to_rate: int) -> None:
    samples = noise(n_samples)
    expected = librosa.resample(samples, orig_sr=from_rate, target_sr=to_rate, res_type="soxr_hq")
    np.testing.assert_array_equal(resample(samples, from_rate, to_rate), expected)


@bounded
@given(n_samples=st.integers(0, 3_000), from_rate=lengths, to_rate=lengths)
def test_the_resampled_length_is_exact(n_samples: int, from_rate: int, to_rate: int) -> None:
    from_rate, to_rate = from_rate + 1_000, to_rate + 1_000
    resampled = resample(noise(n_samples), from_rate, to_rate)
    assert len(resampled) == -(-n_samples * to_rate // from_rate)
    assert resampled.dtype == np.float32


def test_resampling_leaves_its_input_alone() -> None:
    samples = noise(100)
    resample(samples, 16_000, 16_000)[:] = 0
    np.testing.assert_array_equal(samples, noise(100))


# What the command `ffmpeg -i two_tones.wav -f f32le -ac 1 -ar 16000` of FFmpeg 5.1 gave.
FFMPEG_COUNT = 16160
FFMPEG_FIRST = [0.02732149, 0.13581198, 0.25968617, 0.33148038, 0.35964918, 0.33512691]
FFMPEG_LAST = [-0.37741774, -0.25645566, -0.11870821, 0.01131286, 0.11273398, 0.16951251]


def two_tones() -> bytes:
    left, right = sine(1.01, 44_100, 300.0), sine(1.01, 44_100, 1_234.0, 0.3)
    pcm = np.round(np.stack([left, right], axis=1) * 32767).astype(np.int16)
    return by_soundfile(pcm, 44_100, "WAV")


def test_ffmpegs_resampling_and_mix_are_repeated() -> None:
    audio = read_audio(two_tones())
    resampled = resample_like_ffmpeg(mono_like_ffmpeg(audio), audio.sample_rate, 16_000)
    assert len(resampled) == FFMPEG_COUNT
    np.testing.assert_allclose(resampled[:6], FFMPEG_FIRST, rtol=0, atol=1e-6)
    np.testing.assert_allclose(resampled[-6:], FFMPEG_LAST, rtol=0, atol=1e-6)


def test_ffmpeg_changes_nothing_at_the_same_rate() -> None:
    np.testing.assert_array_equal(resample_like_ffmpeg(noise(999), 16_000, 16_000), noise(999))


@pytest.mark.parametrize("n_samples", [0, 1, 5])
def test_ffmpeg_gives_nothing_for_the_shortest_clips(n_samples: int) -> None:
    assert len(resample_like_ffmpeg(noise(n_samples), 44_100, 16_000)) == 0


def test_ffmpegs_mono_of_a_mono_recording_is_the_recording() -> None:
    audio = Audio(noise(10), 16_000)
    np.testing.assert_array_equal(mono_like_ffmpeg(audio), noise(10))
