from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvc_core.audio import read_audio
from rvc_core.errors import CoreError, EmptyAudio, UndecodableAudio
from tests.rvc_core.recordings import by_av, by_soundfile, sine

RATE = 44_100
TONE = sine(0.5, RATE)

ENCODED = [
    by_soundfile(TONE, RATE, "WAV"),
    by_soundfile(TONE, RATE, "FLAC"),
    by_soundfile(TONE, RATE, "OGG"),
    by_soundfile(TONE, RATE, "MP3"),
    by_av(TONE, RATE, "mp3", "libmp3lame"),
    by_av(TONE, RATE, "mp4", "aac"),
    by_av(TONE, 48_000, "webm", "libopus"),
]


@settings(max_examples=100, deadline=None)
@given(which=st.sampled_from(ENCODED), place=st.floats(0, 1), seed=st.integers(0, 2**16))
def test_damaged_files_are_read_or_refused_by_name(which: bytes, place: float, seed: int) -> None:
    damaged = bytearray(which)
    damage = np.random.default_rng(seed).bytes(6)
    start = int(place**3 * len(which))  # more often in the header
    damaged[start : start + 6] = damage
    try:
        read_audio(bytes(damaged), max_seconds=60)
    except CoreError as error:
        assert "\n" not in str(error)


def test_damaged_packets_are_left_out() -> None:
    data = bytearray(by_av(sine(2.0, 48_000), 48_000, "mp4", "aac"))
    middle = data.index(b"mdat") + 4 + 8_000
    data[middle : middle + 200] = b"\xff" * 200
    assert read_audio(bytes(data)).duration_s == pytest.approx(2.0, abs=0.2)


def test_a_file_of_damaged_packets_is_refused() -> None:
    data = bytearray(by_av(sine(2.0, 48_000), 48_000, "mp4", "aac"))
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = b"\xff" * (end - start)
    with pytest.raises(UndecodableAudio, match="packets cannot be decoded"):
        read_audio(bytes(data))


def test_a_header_that_leads_before_its_file_is_no_noise(
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = bytearray(by_soundfile(TONE, RATE, "AIFF"))
    data[data.index(b"SSND") + 3] = 255  # no samples to be found
    with contextlib.suppress(CoreError):
        read_audio(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_a_sample_rate_that_changes_is_refused() -> None:
    first, second = (by_av(sine(0.5, r), r, "mp3", "libmp3lame") for r in (RATE, 48_000))
    with pytest.raises(UndecodableAudio, match="changes its sample rate"):
        read_audio(first + second)


def test_a_cut_stream_of_packets_is_refused() -> None:
    data = by_av(sine(3.0, RATE), RATE, "wv", "wavpack")
    with pytest.raises(UndecodableAudio, match="wv audio is damaged"):
        read_audio(data[: len(data) // 2])


def test_a_sound_track_without_packets_is_empty() -> None:
    data = by_av(TONE, RATE, "wv", "wavpack")  # a single packet
    with pytest.raises(EmptyAudio):
        read_audio(data[: len(data) // 2])
