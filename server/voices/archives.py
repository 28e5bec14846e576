"""Zip files from strangers: looked at before anything is read, and read no further than allowed.

What a header states is taken as a reason to refuse, never as a promise.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rvc_core.token import Token
from server.errors import UnsafeArchive
from server.voices.names import is_name, name_of_file

BLOCK_BYTES = 1 << 20
END = b"PK\x05\x06"
END_BYTES = 22
LONG_END = b"PK\x06\x06"  # for files beyond 4 GiB, though torch writes it into all of its own
LONG_END_BYTES = 56 + 20
HEADER_BYTES = 30  # before each entry
SLACK_BYTES = 256  # for times, owners and alignment
START = b"PK\x03\x04"
ENCRYPTED = 0x1 | 0x40 | 0x2000  # flags: plain, strong, and with a hidden directory
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst")
FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class ZipBounds:
    """How much a zip file may hold; `directory_bytes` is its list of entries."""

    entries: int = 100
    directory_bytes: int = 64 << 10


def unpack(
    archive: Path, folder: Path, suffixes: tuple[str, ...], max_bytes: int, token: Token
) -> list[Path]:
    """Unpack the files with those suffixes into folders below `folder`, at most `max_bytes`.

    Raises `UnsafeArchive` if anything in it, wanted or not, is what an archive of a voice has no
    reason to hold. Folders inside are left out, so all names are plain.
    """
    with reading(archive) as opened:
        entries = _checked(opened, max_bytes)
        wanted = [e for e in entries if _is_wanted(e.filename, suffixes)]
        files, left = [], max_bytes
        for number, entry in enumerate(wanted):
            target = folder / str(number) / _plain(entry.filename)
            target.parent.mkdir(parents=True)
            left -= _extract(opened, entry, target, left, token)
            files.append(target)
    return files


@contextmanager
def reading(path: Path, bounds: ZipBounds | None = None) -> Iterator[zipfile.ZipFile]:
    """The zip file, which is nothing else beside: no other data before, after or inside of it.

    The end record alone tells whether there are too many entries; they are not read then.
    """
    _check_end(path, bounds or ZipBounds())
    try:
        with zipfile.ZipFile(path) as opened:
            _check_gaps(path, opened)
            yield opened
    except FAULTS as error:
        raise UnsafeArchive(f"{path.name} is no zip file that can be read.") from error


def is_plain_zip(path: Path) -> bool:
    """Whether the file begins as a zip file does; others may be one from somewhere inside on."""
    with path.open("rb") as file:
        return file.read(4) == START


def _check_end(path: Path, bounds: ZipBounds) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(max(0, size - END_BYTES))
        end = file.read(END_BYTES)
    if start != START or len(end) < END_BYTES or not end.startswith(END):
        raise UnsafeArchive(f"{path.name} is no zip file, or is something else beside.")
    _, _, here, total, listed, offset, comment = struct.unpack("<HHHHIIH", end[4:])
    if total > bounds.entries or here != total or listed > bounds.directory_bytes:
        raise UnsafeArchive(f"{path.name} has more than {bounds.entries} entries.")
    if comment or not _ends_with(path, size - END_BYTES, (total, listed, offset)):
        raise UnsafeArchive(f"{path.name} holds data that its list of entries does not show.")


def _ends_with(path: Path, end: int, stated: tuple[int, int, int]) -> bool:
    """Whether nothing but a second record of the same facts is between the list and its end."""
    _, listed, offset = stated
    if offset + listed == end:
        return True
    if offset + listed + LONG_END_BYTES != end:
        return False
    with path.open("rb") as file:
        file.seek(offset + listed)
        record = file.read(LONG_END_BYTES)
    return record.startswith(LONG_END) and struct.unpack("<QQQ", record[32:56]) == stated


def _check_gaps(path: Path, opened: zipfile.ZipFile) -> None:
    """Raise if the entries leave room for anything else: an archive can be hidden between them."""
    entries = opened.infolist()
    needed = sum(e.compress_size + HEADER_BYTES + len(e.filename.encode()) for e in entries)
    if opened.start_dir - needed > SLACK_BYTES * len(entries):
        raise UnsafeArchive(f"{path.name} holds data that its list of entries does not show.")


def _checked(opened: zipfile.ZipFile, max_bytes: int) -> list[zipfile.ZipInfo]:
    entries = opened.infolist()
    if len({entry.filename for entry in entries}) < len(entries):
        raise UnsafeArchive("The zip file holds two entries of one name.")
    for entry in entries:
        problem = _problem(entry)
        if problem:
            raise UnsafeArchive(f"The entry {entry.orig_filename[:80]!r} {problem}.")
    total = sum(entry.file_size for entry in entries)
    if total > max_bytes:
        raise UnsafeArchive(f"The zip file unpacks to {total} bytes; {max_bytes} are allowed.")
    return entries


def _problem(entry: zipfile.ZipInfo) -> str:
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    parts = name.replace("\\", "/").split("/")
    if "\0" in name or "\\" in name or name.startswith("/") or ".." in parts or ":" in parts[0]:
        return "leads out of its folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a special file"
    if entry.flag_bits & ENCRYPTED:
        return "is encrypted"
    if entry.compress_type not in METHODS:
        return "is compressed in a way that is not read here"
    if name.lower().endswith(ARCHIVES):
        return "is an archive in the archive"
    return ""


def _is_wanted(name: str, suffixes: tuple[str, ...]) -> bool:
    parts = name.split("/")
    if parts[0] == "__MACOSX" or parts[-1].startswith("."):  # what macOS adds of its own
        return False
    return name_of_file(name)[1] in suffixes


def _plain(name: str) -> str:
    stem, suffix = name_of_file(name)
    return (stem if is_name(stem) or stem.startswith(("added_", "trained_")) else "file") + suffix


def _extract(
    opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, max_bytes: int, token: Token
) -> int:
    n_bytes = 0
    with opened.open(entry) as packed, target.open("xb") as file:
        while block := packed.read(BLOCK_BYTES):
            token.check()
            n_bytes += len(block)
            if n_bytes > max_bytes:
                raise UnsafeArchive(f"The zip file unpacks to more than {max_bytes} bytes.")
            file.write(block)
    return n_bytes
