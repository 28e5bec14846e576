"""Files that are made part by part."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rvc_core.audio import Audio, encode_audio, read_audio
from rvc_core.encoders import AUDIO_FORMATS, open_encoder
from rvc_core.errors import Cancelled, InvalidOption
from rvc_core.loudness import to_pcm16
from rvc_core.token import Token
from tests.rvc_core.recordings import dominant_hz, sine

bounded = settings(max_examples=20, deadline=None)
RATES = st.sampled_from([16_000, 22_050, 40_000, 48_000])


def in_parts(samples: NDArray[np.float32], rate: int, audio_format: str, size: int) -> list[bytes]:
    """The bytes as they come when samples are given by so many at a time."""
    encoder = open_encoder(audio_format, rate, len(samples))
    starts = range(0, len(samples), size)
    return [*(encoder.push(samples[i : i + size]) for i in starts), encoder.finish()]


@bounded
@given(
    audio_format=st.sampled_from(["wav", "flac", "mp3"]),
    rate=RATES,
    n_samples=st.integers(1, 60_000),
    size=st.integers(500, 50_000),
)
def test_the_parts_put_together_are_the_file(
    audio_format: str, rate: int, n_samples: int, size: int
) -> None:
    samples = sine(n_samples / rate, rate)[:n_samples]
    whole = encode_audio(Audio(samples, rate), audio_format)
    assert b"".join(in_parts(samples, rate, audio_format, size)) == whole


@bounded
@given(rate=RATES, n_samples=st.integers(1, 60_000), size=st.integers(500, 50_000))
def test_ogg_decodes_to_the_same_samples_however_it_was_parted(
    rate: int, n_samples: int, size: int
) -> None:
    samples = sine(n_samples / rate, rate)[:n_samples]
    whole = read_audio(encode_audio(Audio(samples, rate), "ogg"))
    parted = read_audio(b"".join(in_parts(samples, rate, "ogg", size)))
    assert len(whole.samples) == n_samples
    np.testing.assert_array_equal(parted.samples, whole.samples)


@pytest.mark.parametrize("audio_format", AUDIO_FORMATS)
def test_bytes_come_before_all_samples_are_there(audio_format: str) -> None:
    parts = in_parts(sine(4.0, 40_000), 40_000, audio_format, 40_000)
    assert sum(map(len, parts[:2])) > 0.3 * sum(map(len, parts))


@pytest.mark.parametrize("rate", [22_050, 40_000])
@pytest.mark.parametrize("n_samples", [1_000, 1_152, 1_153, 40_000, 100_001])
def test_mp3_states_its_length_so_that_it_decodes_to_it(rate: int, n_samples: int) -> None:
    encoder = open_encoder("mp3", rate, n_samples)
    data = encoder.push(sine(n_samples / rate, rate)[:n_samples]) + encoder.finish()
    wanted = -(-n_samples * encoder.sample_rate // rate)
    back = read_audio(data)
    assert wanted <= len(back.samples) <= wanted + 47  # of one frame, FFmpeg drops no more


def test_flac_states_its_length_from_the_start() -> None:
    encoder = open_encoder("flac", 40_000, 123_456)
    first = encoder.push(sine(1.0, 40_000))
    rest = encoder.push(sine(2.0864, 40_000)) + encoder.finish()
    assert soundfile.info(io.BytesIO(first + rest)).frames == 123_456


def test_wav_is_as_libsndfile_writes_it() -> None:
    samples, file = sine(0.5, 40_000), io.BytesIO()
    soundfile.write(file, to_pcm16(samples), 40_000, format="WAV", subtype="PCM_16")
    encoder = open_encoder("wav", 40_000, len(samples))
    assert encoder.push(samples) + encoder.finish() == file.getvalue()
    assert encoder.n_bytes == len(file.getvalue())


@pytest.mark.parametrize("rate", [8_000, 22_050, 40_000, 48_000, 192_000])
def test_ogg_keeps_pitch_and_duration(rate: int) -> None:
    back = read_audio(encode_audio(Audio(sine(1.0, rate), rate), "ogg"))
    assert (back.sample_rate, back.duration_s) == (rate, 1.0)
    assert dominant_hz(back.samples, rate) == pytest.approx(440.0, abs=1.0)


def test_a_rate_that_flac_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidOption, match="150001") as caught:
        open_encoder("flac", 150_001, 100)
    assert caught.value.param == "resample_sr"


@pytest.mark.parametrize("audio_format", ["flac", "mp3", "ogg"])
def test_encoding_ends_when_nobody_wants_it(audio_format: str) -> None:
    token = Token()
    encoder = open_encoder(audio_format, 40_000, 40_000)
    token.cancel()
    with token.governing(), pytest.raises(Cancelled):
        encoder.push(sine(1.0, 40_000))
