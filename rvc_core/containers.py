"""Tell from a file's own structure whether its end is missing; nothing is decoded here.

Decoders play what is left of a cut file without a word. A conversion of half a song is no
use to anybody, so files that state more than they hold are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from rvc_core.errors import UndecodableAudio

_UNKNOWN_SIZE = 0x7FFF0000  # programs that write to a pipe put this or more as the size
_SLACK_BYTES = 64  # some programs count the header as samples
_SLACK_FRAMES = 3  # some programs count the Xing frame, or the encoder's last ones

_MP3_KBPS_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_MP3_KBPS_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_MP3_RATES = (44_100, 48_000, 32_000, 0)
_TAGS_AT_THE_END = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3", b"3DI")


def is_mpeg_audio(data: bytes) -> bool:
    """Whether `data` is MPEG audio (mp3, mp2, aac): starts so, with an ID3 tag, or as wav."""
    if data.startswith(b"RIFF"):
        return data[20:22] == b"\x55\x00"  # the format number of mp3
    return data.startswith(b"ID3") or (len(data) > 1 and data[0] == 0xFF and data[1] >= 0xE0)


def check_complete(data: bytes, container: str) -> None:
    """Raise `UndecodableAudio` if the end of a "wav", "mp4" or "mp3" file is missing."""
    reason = {"wav": _missing_wav, "mp4": _missing_mp4, "mp3": _missing_mp3}[container](data)
    if reason:
        raise UndecodableAudio(f"The {container} audio is truncated: {reason}.")


def state_wav_size(data: bytes) -> bytes:
    """Return `data` with an open end in place of a data size of 0 that samples follow."""
    start, size = _wav_data(data)
    if size != 0 or start >= len(data) or _is_chunk(data, start):
        return data
    return data[: start - 4] + b"\xff\xff\xff\xff" + data[start:]


def _missing_wav(data: bytes) -> str:
    start, size = _wav_data(data)
    missing = size - (len(data) - start)
    if size >= _UNKNOWN_SIZE or missing < _SLACK_BYTES:
        return ""
    return f"its header states {size} bytes of samples, {len(data) - start} are there"


def _wav_data(data: bytes) -> tuple[int, int]:
    """Return where the samples start and how many bytes the header states."""
    position = 12
    while position + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, position + 4)
        if data[position : position + 4] == b"data":
            return position + 8, size
        position += 8 + size + size % 2
    return len(data), 0


def _is_chunk(data: bytes, position: int) -> bool:
    if position + 8 > len(data):
        return False
    (size,) = struct.unpack_from("<I", data, position + 4)
    name = data[position : position + 4]
    return name.isascii() and name.decode().isprintable() and position + 8 + size <= len(data)


def _missing_mp4(data: bytes) -> str:
    position = 0
    while position + 16 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
        if size < 8:
            return ""  # 0: to the end of the file
        if kind in (b"mdat", b"moov", b"moof") and position + size > len(data):
            return f"its {kind.decode()} part lacks {position + size - len(data)} bytes"
        position += size
    return ""


@dataclass(frozen=True)
class _Mp3Frame:
    start: int
    length: int
    kind: bytes  # version, layer and sample rate: the same in every frame of a stream

    @property
    def end(self) -> int:
        return self.start + self.length


def _missing_mp3(data: bytes) -> str:
    """Walk from frame to frame; a file without a frame count that ends with a whole one is fine."""
    first, n_frames, end = None, 0, 0
    for frame in _mp3_frames(data):
        first, n_frames, end = first or frame, n_frames + 1, frame.end
    if first is None:
        return ""
    if end > len(data) or (end + 4 > len(data) and data[end : end + 1] == b"\xff"):
        return f"it ends inside of frame {n_frames}"
    stated = _stated_frames(data, first)
    if stated - (n_frames - 1) > _SLACK_FRAMES:
        return f"its header states {stated} frames, {n_frames - 1} are there"
    return ""


def _mp3_frames(data: bytes) -> Iterator[_Mp3Frame]:
    frame = _find_frame(data, _after_id3(data), b"")
    while frame is not None:
        yield frame
        following = _frame_at(data, frame.end, frame.kind)
        if following is None and not data.startswith(_TAGS_AT_THE_END, frame.end):
            following = _find_frame(data, frame.end, frame.kind)
        frame = following


def _frame_at(data: bytes, position: int, kind: bytes) -> _Mp3Frame | None:
    """Read the header at `position`, of layer III and of `kind` unless that is empty."""
    header = data[position : position + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, rate_index = (header[1] >> 3) & 3, (header[2] >> 2) & 3
    this_kind = bytes((header[1] & 0xFE, rate_index))
    kbps = (_MP3_KBPS_V1 if version == 3 else _MP3_KBPS_V2)[header[2] >> 4]
    rate = _MP3_RATES[rate_index] // {3: 1, 2: 2, 0: 4}.get(version, 1)
    if version == 1 or kbps == 0 or rate == 0 or kind not in (b"", this_kind):
        return None
    bytes_per_kbit = 144_000 if version == 3 else 72_000
    length = bytes_per_kbit * kbps // rate + ((header[2] >> 1) & 1)
    return _Mp3Frame(position, length, this_kind)


def _find_frame(data: bytes, position: int, kind: bytes) -> _Mp3Frame | None:
    """Search for a frame that another one follows, or that the file ends with."""
    position = data.find(b"\xff", position)
    while position >= 0:
        frame = _frame_at(data, position, kind)
        if frame is not None and (
            frame.end == len(data) or _frame_at(data, frame.end, frame.kind) is not None
        ):
            return frame
        position = data.find(b"\xff", position + 1)
    return None


def _after_id3(data: bytes) -> int:
    """Return where the ID3v2 tags at the beginning end; sizes have 7 bits a byte."""
    position = 0
    while data.startswith(b"ID3", position) and position + 10 <= len(data):
        size = 0
        for byte in data[position + 6 : position + 10]:
            size = size << 7 | byte & 0x7F
        footer = 10 if data[position + 5] & 0x10 else 0
        position += 10 + size + footer
    return position


def _stated_frames(data: bytes, first: _Mp3Frame) -> int:
    """Return the frame count of a Xing or Info header, 0 where there is none."""
    is_v1, is_mono = first.kind[0] & 0x18 == 0x18, data[first.start + 3] >> 6 == 3
    side_bytes = (17 if is_mono else 32) if is_v1 else (9 if is_mono else 17)
    start = first.start + 4 + side_bytes
    if data[start : start + 4] not in (b"Xing", b"Info") or start + 12 > len(data):
        return 0
    flags, n_frames = struct.unpack_from(">II", data, start + 4)
    return int(n_frames) if flags & 1 else 0
