from __future__ import annotations

import io
import stat
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvc_core.errors import Cancelled
from rvc_core.token import Token
from server.errors import UnsafeArchive
from server.voices.archives import unpack
from tests.server.voices.made import bomb_bytes, tree, zip_bytes, zip_with

SUFFIXES = (".pth", ".index")
MIB = 1 << 20


def unpacked(folder: Path, content: bytes, max_bytes: int = MIB) -> dict[str, bytes]:
    """What comes out, by name."""
    archive = folder / "sent.zip"
    archive.write_bytes(content)
    files = unpack(archive, folder / "out", SUFFIXES, max_bytes, Token())
    return {path.name: path.read_bytes() for path in files}


def refusal(folder: Path, content: bytes, max_bytes: int = MIB) -> str:
    before = tree(folder)
    with pytest.raises(UnsafeArchive) as caught:
        unpacked(folder, content, max_bytes)
    (folder / "sent.zip").unlink()
    left = {name: size for name, size in tree(folder).items() if size >= 0}
    assert sum(left.values()) <= sum(before.values()) + max_bytes
    assert not (folder.parent / "evil.pth").exists()
    return caught.value.message


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x.pth")
    info.filename = info.orig_filename = name  # the constructor would tidy it
    info.external_attr = mode << 16
    return info


def test_wanted_files_come_out_without_their_folders(tmp_path: Path) -> None:
    content = zip_bytes({"a/b/anna.pth": b"1", "added_x_anna_v2.index": b"2", "a/read me.txt": b""})
    assert unpacked(tmp_path, content) == {"anna.pth": b"1", "added_x_anna_v2.index": b"2"}


def test_what_macos_adds_is_left(tmp_path: Path) -> None:
    content = zip_bytes({"__MACOSX/._anna.pth": b"0", "anna.pth": b"1", ".b.pth": b"2"})
    assert unpacked(tmp_path, content) == {"anna.pth": b"1"}


def test_a_name_that_no_voice_may_have_is_replaced(tmp_path: Path) -> None:
    assert unpacked(tmp_path, zip_bytes({"a|b.pth": b"1"})) == {"file.pth": b"1"}


@pytest.mark.parametrize(
    "name",
    ["../evil.pth", "a/../../evil.pth", "/evil.pth", "..\\evil.pth", "C:\\evil.pth", "C:evil.pth"]
    + ["a/..", "\\\\host\\evil.pth", "../note.txt"],
)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    assert "leads out" in refusal(tmp_path, zip_with(entry(name)))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_a_link_or_a_device_is_refused(tmp_path: Path, kind: int) -> None:
    assert "link" in refusal(tmp_path, zip_with(entry("anna.pth", kind | 0o777), b"/etc/passwd"))


@pytest.mark.parametrize("name", ["inner.zip", "a/b.TAR.GZ", "x.7z"])
def test_an_archive_inside_is_refused(tmp_path: Path, name: str) -> None:
    assert "archive in" in refusal(tmp_path, zip_bytes({name: b"", "anna.pth": b"1"}))


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    content = bytearray(zip_bytes({"anna.pth": b"1"}))
    directory = content.index(b"PK\x01\x02")
    content[6] |= 1
    content[directory + 8] |= 1
    assert "encrypted" in refusal(tmp_path, bytes(content))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_rare_compressions_are_refused(tmp_path: Path, method: int) -> None:
    assert "compressed" in refusal(tmp_path, zip_bytes({"anna.pth": b"1"}, method))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("anna.pth", b"1")
        archive.writestr("anna.pth", b"2")
    assert "one name" in refusal(tmp_path, file.getvalue())


def test_ten_thousand_entries_are_refused_without_a_look_at_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = zip_bytes({f"{n}.pth": b"" for n in range(10_000)})

    def read(*arguments: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr(zipfile, "ZipFile", read)
    started = time.perf_counter()
    assert "more than 100 entries" in refusal(tmp_path, content)
    assert time.perf_counter() - started < 0.5


def test_a_hundred_entries_are_not_too_many(tmp_path: Path) -> None:
    content = zip_bytes({f"{n}.txt": b"" for n in range(99)} | {"anna.pth": b"1"})
    assert unpacked(tmp_path, content) == {"anna.pth": b"1"}


def test_a_long_list_behind_a_small_count_is_refused(tmp_path: Path) -> None:
    content = bytearray(zip_bytes({f"{n}.pth": b"" for n in range(10_000)}))
    content[-14:-10] = struct.pack("<HH", 1, 1)
    assert "entries" in refusal(tmp_path, bytes(content))


def test_a_bomb_is_refused_by_what_it_states(tmp_path: Path) -> None:
    assert "unpacks to 4194304" in refusal(tmp_path, bomb_bytes(4 * MIB))


def test_a_bomb_that_states_less_is_stopped_as_it_unpacks(tmp_path: Path) -> None:
    content = bytearray(zip_bytes({"anna.pth": bytes(4 * MIB)}))
    directory = content.index(b"PK\x01\x02")
    for start in (22, directory + 24):  # the sizes that the two headers state
        content[start : start + 4] = struct.pack("<I", 100)
    assert refusal(tmp_path, bytes(content))


def test_two_gigabytes_of_nothing_are_refused_at_once(tmp_path: Path) -> None:
    started = time.perf_counter()
    content = bytearray(zip_bytes({"anna.pth": bytes(MIB)}))
    directory = content.index(b"PK\x01\x02")
    for start in (22, directory + 24):
        content[start : start + 4] = struct.pack("<I", 2 << 30)
    assert "2147483648" in refusal(tmp_path, bytes(content), 1 << 30)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "make",
    [
        lambda plain: b"GIF89a" + plain,
        lambda plain: plain + b"GIF89a",
        lambda plain: plain + plain,
        lambda plain: zip_bytes({"other.pth": b"1"}) + plain,
        lambda plain: b"PK\x03\x04" + bytes(64) + plain,
        lambda plain: plain[:-2] + b"\x04\x00note",
        lambda plain: plain[:-2] + b"\x04\x00",
        lambda plain: plain[:-40],
        lambda plain: plain[:60] + bytes(20) + plain[80:],
        lambda plain: b"",
        lambda plain: b"PK\x05\x06" + bytes(18),
        lambda plain: bytes(1000),
    ],
)
def test_a_file_that_is_more_or_less_than_a_zip_is_refused(
    tmp_path: Path, make: Callable[[bytes], bytes]
) -> None:
    assert refusal(tmp_path, make(zip_bytes({"anna.pth": b"1" * 50})))


def test_data_hidden_between_the_entries_is_refused(tmp_path: Path) -> None:
    plain = zip_bytes({"anna.pth": b"1" * 50})
    directory, hidden = plain.index(b"PK\x01\x02"), b"x" * 4000
    moved = struct.pack("<I", directory + len(hidden))
    content = plain[:directory] + hidden + plain[directory:-6] + moved + plain[-2:]
    assert "does not show" in refusal(tmp_path, content)


def test_a_cancelled_request_unpacks_no_further(tmp_path: Path) -> None:
    token = Token()
    token.cancel()
    (tmp_path / "sent.zip").write_bytes(zip_bytes({"anna.pth": b"1"}))
    with pytest.raises(Cancelled):
        unpack(tmp_path / "sent.zip", tmp_path / "out", SUFFIXES, MIB, token)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_zip_is_refused_or_read_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(zip_bytes({"anna.pth": b"1" * 50, "b.index": b"2" * 50}))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    try:
        unpacked(folder, bytes(content))
    except UnsafeArchive:
        return
    assert all(".." not in name for name in tree(folder))
