"""Files as strangers send them: good ones, and those that want harm."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rvc_core.token import Token
from server.voices.child import do_job
from server.voices.desk import VoiceDesk, Wanted
from server.voices.inspector import Job
from server.voices.intake import Upload
from server.voices.reports import VoiceReport
from tests.rvc_core.tiny import TinyVoice
from tests.server.live import write_index


class Payload:
    """Unpickled by a careless reader, it makes the file `mark`."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._mark),)


def voice_bytes(**options: Any) -> bytes:
    """A tiny voice as a `.pth` file."""
    file = io.BytesIO()
    torch.save(TinyVoice(**options).checkpoint(), file)
    return file.getvalue()


def index_bytes(folder: Path, width: int = 768) -> bytes:
    """A small index; `folder` is only used meanwhile."""
    path = folder / "made.index"
    write_index(path, width)
    content = path.read_bytes()
    path.unlink()
    return content


def zip_bytes(entries: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file with these entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def zip_with(entry: zipfile.ZipInfo, content: bytes = b"x") -> bytes:
    """A zip file with one entry of one's own making."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(entry, content)
    return file.getvalue()


def bomb_bytes(n_bytes: int, name: str = "anna.pth") -> bytes:
    """A small zip file that unpacks to `n_bytes` of zeros."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as entry,
    ):
        for _ in range(0, n_bytes, 1 << 20):
            entry.write(bytes(1 << 20))
    return file.getvalue()


def evil_bytes(mark: Path, legacy: bool = False) -> bytes:
    """A `.pth` file that makes `mark` if anybody unpickles it in the plain way."""
    if legacy:
        return pickle.dumps({"weight": Payload(mark)}, protocol=2)
    file = io.BytesIO()
    torch.save({"weight": Payload(mark), "config": []}, file)
    return file.getvalue()


def upload(name: str, content: bytes) -> Upload:
    return Upload(name, io.BytesIO(content))


def take(desk: VoiceDesk, *files: tuple[str, bytes], **wanted: Any) -> VoiceReport:
    """Send files to the desk."""
    uploads = [upload(name, content) for name, content in files]
    return desk.take(uploads, Wanted(**wanted), Token())


def inspect_here(job: Job, token: Token) -> dict[str, Any]:
    """What the inspector's process does, in this one, where it takes a moment and no limits."""
    return do_job(
        {
            "folder": str(job.folder),
            "voice": job.voice and str(job.voice),
            "index": job.index and str(job.index),
            "content_dim": job.content_dim,
            "max_bytes": job.max_bytes,
        }
    )


def tree(folder: Path) -> dict[str, int]:
    """Everything below `folder`, with sizes; folders have -1."""
    return {
        str(path.relative_to(folder)): -1 if path.is_dir() else path.lstat().st_size
        for path in folder.rglob("*")
    }
