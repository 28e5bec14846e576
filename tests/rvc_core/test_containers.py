from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvc_core.audio import Audio, encode_audio, read_audio
from rvc_core.containers import check_complete, is_mpeg_audio
from rvc_core.errors import UndecodableAudio
from tests.rvc_core.recordings import by_av, by_soundfile, sine

RATE = 44_100
TONE = sine(3.0, RATE)
WAV = by_soundfile(TONE, RATE, "WAV")
FLAC = by_soundfile(TONE, RATE, "FLAC")
MP3 = by_av(TONE, RATE, "mp3", "libmp3lame")  # ID3 tag and Info header, constant bit rate
VBR = by_soundfile(TONE, RATE, "MP3")  # Xing header, variable bit rate
SPEECH_MP3 = by_av(sine(3.0, 16_000), 16_000, "mp3", "libmp3lame")  # MPEG 2
ID3V1 = b"TAG" + b"title".ljust(125, b"\0")
APE = b"APETAGEX" + struct.pack("<4I8x", 2000, 32, 0, 0)


def plain_mp3() -> bytes:
    """Frames without a header that counts them."""
    counted = MP3.index(b"Info") - 21
    return MP3[MP3.index(MP3[counted : counted + 2], counted + 4) :]


def with_wav_size(size: int, data: bytes = WAV) -> bytes:
    return data[:40] + struct.pack("<I", size) + data[44:]


@pytest.mark.parametrize("data", [WAV, FLAC, MP3, VBR, SPEECH_MP3, plain_mp3()])
def test_whole_files_are_read(data: bytes) -> None:
    assert read_audio(data).duration_s == pytest.approx(3.0, abs=0.06)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    "data", [WAV, FLAC, MP3, VBR, SPEECH_MP3], ids=["wav", "flac", "mp3", "vbr", "mpeg2"]
)
def test_cut_files_are_refused_in_one_quiet_line(
    data: bytes, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UndecodableAudio) as caught:
        read_audio(data[: int(len(data) * share)])
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_flac_cut_between_its_blocks_is_refused() -> None:
    with pytest.raises(UndecodableAudio, match="truncated or damaged"):
        read_audio(FLAC[: FLAC.rindex(b"\xff\xf8")])


def test_the_message_says_what_is_missing() -> None:
    with pytest.raises(UndecodableAudio, match="wav .* states 264600 bytes of samples, 956 are"):
        read_audio(WAV[:1000])
    with pytest.raises(UndecodableAudio, match="mp3 audio is truncated: it ends inside of frame"):
        read_audio(MP3[:-50])


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(1, len(MP3) - 2500))
def test_mp3_with_a_frame_count_may_be_cut_nowhere(cut: int) -> None:
    with pytest.raises(UndecodableAudio):
        check_complete(MP3[: len(MP3) - 2500 - cut % (len(MP3) - 6000)], "mp3")


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(1, 40_000))
def test_mp3_without_a_frame_count_may_be_cut_between_frames_only(cut: int) -> None:
    data = plain_mp3()[: 3_000 + cut]
    end = 0
    while end + 3 < len(data):
        end += 417 + (data[end + 2] >> 1 & 1)  # 128 kbit/s at 44.1 kHz, and the padding bit
    if end == len(data):
        check_complete(data, "mp3")
    else:
        with pytest.raises(UndecodableAudio, match="inside of frame"):
            check_complete(data, "mp3")


@pytest.mark.parametrize(
    "tail",
    [
        ID3V1,
        APE,
        APE + ID3V1,
        bytes(500),
        b"LYRICSBEGIN..." + ID3V1,
        b"\0\xff\xfb\x90\xc4",
        b"junk",
    ],
    ids=["ID3v1", "APE", "both", "zeros", "lyrics", "stray header", "text"],
)
@pytest.mark.parametrize("data", [MP3, plain_mp3()], ids=["counted", "plain"])
def test_tags_after_an_mp3_are_no_truncation(data: bytes, tail: bytes) -> None:
    assert read_audio(data + tail).duration_s == pytest.approx(3.0, abs=0.1)


def test_junk_before_and_within_an_mp3_is_skipped() -> None:
    middle = plain_mp3()
    check_complete(b"junk\xff\xfb" + middle + b"\xff\xff junk \xff" + middle, "mp3")
    with pytest.raises(UndecodableAudio):
        check_complete(b"junk\xff\xfb" + middle + b"\xff\xff junk \xff" + middle[:-9], "mp3")


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_frame_count_that_is_a_little_off_is_forgiven(missing: int) -> None:
    place = MP3.index(b"Info") + 8
    (n_frames,) = struct.unpack_from(">I", MP3, place)
    data = MP3[:place] + struct.pack(">I", n_frames + missing) + MP3[place + 4 :]
    check_complete(data, "mp3")
    data = MP3[:place] + struct.pack(">I", n_frames + 4) + MP3[place + 4 :]
    with pytest.raises(UndecodableAudio, match="states .* frames"):
        check_complete(data, "mp3")


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_file_from_a_pipe_is_read_to_its_end(size: int) -> None:
    assert len(read_audio(with_wav_size(size)).samples) == len(TONE)


def test_a_wav_file_that_counts_its_header_is_read() -> None:
    assert len(read_audio(with_wav_size(len(WAV))).samples) == len(TONE)


def test_a_chunk_after_no_samples_is_not_played() -> None:
    data = with_wav_size(0, WAV[:44]) + b"LIST" + struct.pack("<I", 8) + b"INFOISFT"
    with pytest.raises(Exception, match="no samples"):
        read_audio(data)


def test_a_chunk_before_the_samples_is_skipped() -> None:
    data = WAV[:36] + b"LIST" + struct.pack("<I", 5) + b"INFOx\0" + WAV[36:]
    assert len(read_audio(data).samples) == len(TONE)
    with pytest.raises(UndecodableAudio, match="truncated"):
        read_audio(data[:-1000])


def test_cut_mp4_is_refused() -> None:
    data = by_av(TONE, RATE, "mp4", "aac")
    moov = data.index(b"moov") - 4
    mdat = data.index(b"mdat") - 4
    streaming = data[:mdat] + data[moov:] + data[mdat:moov]  # as made for the web
    check_complete(streaming, "mp4")
    with pytest.raises(UndecodableAudio, match="its mdat part lacks 500 bytes"):
        check_complete(streaming[:-500], "mp4")
    with pytest.raises(UndecodableAudio):
        read_audio(data[:-500])


def test_mp4_parts_of_64_bit_and_open_size_are_known() -> None:
    big = struct.pack(">I4sQ", 1, b"mdat", 16 + 100) + bytes(100)
    check_complete(big, "mp4")
    with pytest.raises(UndecodableAudio, match="lacks 1 bytes"):
        check_complete(big[:-1], "mp4")
    check_complete(struct.pack(">I4s", 0, b"mdat") + bytes(50), "mp4")


@pytest.mark.parametrize("container", ["webm", "ogg"])
def test_recordings_made_live_may_end_anywhere(container: str) -> None:
    data = by_av(sine(3.0, 48_000), 48_000, container, "libopus")
    assert 0.5 < read_audio(data[: len(data) * 2 // 3]).duration_s < 3.0


def test_mpeg_audio_is_told_from_its_first_bytes() -> None:
    assert is_mpeg_audio(MP3)
    assert is_mpeg_audio(VBR)
    assert is_mpeg_audio(by_av(TONE, RATE, "wav", "libmp3lame"))
    assert not is_mpeg_audio(WAV)
    assert not is_mpeg_audio(FLAC)
    assert not is_mpeg_audio(b"\xff")


def test_silence_of_any_format_is_complete() -> None:
    silence = Audio(np.zeros(RATE, np.float32), RATE)
    for audio_format in ("wav", "flac", "mp3"):
        assert len(read_audio(encode_audio(silence, audio_format)).samples) == RATE
