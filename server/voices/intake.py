"""Takes what callers send into a folder of its own, which is gone afterwards, whatever happens."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rvc_core.token import Token
from server.errors import InvalidRequest, UnsupportedMediaType, UploadTooLarge
from server.voices.archives import unpack
from server.voices.names import is_name, name_of_file

VOICES = (".pth", ".safetensors")
INDEX = ".index"
TAKEN = (*VOICES, INDEX, ".zip")
PREFIX = ".upload-"  # a dot first, so it is no voice
BLOCK_BYTES = 1 << 20
MAX_FILES = 4
STALE_S = 6 * 3600.0  # what a killed process has left
OTHER_NETWORKS = re.compile(r"[GD](_\d+|_latest)?", re.IGNORECASE)  # of a training run
MADE_BY_TRAINING = re.compile(
    r"added_(?:IVF\d+_Flat_)?(?:nprobe_\d+_)?(.+?)(?:_v[12])?", re.IGNORECASE
)


@dataclass(frozen=True)
class Upload:
    """A file that a caller sends, by the name it has there."""

    name: str
    stream: BinaryIO


@dataclass(frozen=True)
class Parcel:
    """What an upload holds: a voice, an index or both, in `folder`; `stem` is the voice's name."""

    folder: Path
    voice: Path | None
    index: Path | None
    stem: str


@dataclass(frozen=True)
class SizeBounds:
    """Bytes that an upload may have as it comes, and unpacked."""

    sent: int
    unpacked: int


@contextmanager
def receive(
    uploads: Sequence[Upload], beside: Path, bounds: SizeBounds, token: Token
) -> Iterator[Parcel]:
    """The files that were sent, unpacked, in a folder on the disk of `beside` until the block ends.

    Raises `InvalidRequest`, `UnsupportedMediaType`, `UploadTooLarge` or `UnsafeArchive`.
    """
    with workspace(beside) as folder:
        yield _parcel(folder, _collect(uploads, folder, bounds, token))


@contextmanager
def workspace(beside: Path, clock: Callable[[], float] = time.time) -> Iterator[Path]:
    """A new folder in `beside` that nobody takes for a voice, until the block ends."""
    beside.mkdir(parents=True, exist_ok=True)
    for old in beside.glob(PREFIX + "*"):
        if clock() - old.lstat().st_mtime > STALE_S:
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=beside))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _collect(
    uploads: Sequence[Upload], folder: Path, bounds: SizeBounds, token: Token
) -> list[Path]:
    if not 1 <= len(uploads) <= MAX_FILES:
        raise InvalidRequest(f"Send 1 to {MAX_FILES} files, each as 'file'.", param="file")
    left, files = bounds.sent, list[Path]()
    for number, upload in enumerate(uploads):
        stem, suffix = name_of_file(upload.name)
        if suffix not in TAKEN:
            raise UnsupportedMediaType(
                f"{upload.name[-80:]!r} is none of {', '.join(TAKEN)}.", param="file"
            )
        plain = stem if is_name(stem) or _is_index_name(stem) else "upload"
        target = folder / f"sent-{number}" / (plain + suffix)
        target.parent.mkdir()
        left -= _save(upload.stream, target, left, token)
        if suffix == ".zip":
            inside = folder / f"unpacked-{number}"
            files += unpack(target, inside, (*VOICES, INDEX), bounds.unpacked, token)
            target.unlink()
        else:
            files.append(target)
    return files


def _save(stream: BinaryIO, target: Path, max_bytes: int, token: Token) -> int:
    n_bytes = 0
    with target.open("xb") as file:
        while block := stream.read(BLOCK_BYTES):
            token.check()
            n_bytes += len(block)
            if n_bytes > max_bytes:
                raise UploadTooLarge(f"The files have more than {max_bytes} bytes.", param="file")
            file.write(block)
    return n_bytes


def _parcel(folder: Path, files: list[Path]) -> Parcel:
    voices = [path for path in files if path.suffix in VOICES]
    voices = [path for path in voices if not OTHER_NETWORKS.fullmatch(path.stem)] or voices
    indexes = [path for path in files if path.suffix == INDEX]
    indexes = [path for path in indexes if not path.stem.startswith("trained_")] or indexes
    for kind, found in (("voices", voices), ("indexes", indexes)):
        if len(found) > 1:
            names = ", ".join(path.name for path in found)[:200]
            raise InvalidRequest(f"The upload holds {len(found)} {kind}: {names}.", param="file")
    if not voices and not indexes:
        raise InvalidRequest("The upload holds neither a voice nor an index.", param="file")
    voice, index = next(iter(voices), None), next(iter(indexes), None)
    return Parcel(folder, voice, index, _stem(voice or index))


def _stem(path: Path | None) -> str:
    """The name that a file suggests for its voice; "upload" and "file" stand for none."""
    stem = "" if path is None else path.stem
    made = MADE_BY_TRAINING.fullmatch(stem)
    stem = made[1] if made else stem
    return "" if stem in ("upload", "file") else stem


def _is_index_name(stem: str) -> bool:
    return stem.startswith(("added_", "trained_")) and is_name(stem.partition("_")[2])
