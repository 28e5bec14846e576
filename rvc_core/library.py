"""The models folder: voices with the indexes that belong to them, and the shared networks.

    voices/NAME.pth, voices/NAME.safetensors or a folder voices/NAME/ holding one
    voices/*.index, voices/NAME/*.index, indexes/**/*.index
    content/hubert_base/, content/whisper-tiny.en.safetensors
    f0/rmvpe.pt

Each call looks again, so new files need no restart.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from rvc_core.errors import IndexNotFound, VoiceNotFound

SUFFIXES = (".safetensors", ".pth")  # the safer kind first, where both are there
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")
_OTHER_NETWORKS = re.compile(r"[GD](_\d+|_latest)?", re.IGNORECASE)  # names of training files
_SHOWN = 50  # names in a message


@dataclass(frozen=True)
class VoiceEntry:
    """A voice on disk: its file, what the file looked like, and the index that belongs to it."""

    name: str
    path: Path
    index: Path | None
    size: int
    mtime_ns: int

    @property
    def identity(self) -> tuple[Path, int, int]:
        """Changes when the file does."""
        return self.path, self.size, self.mtime_ns


class VoiceLibrary:
    """Finds voices and indexes under two folders; no name from outside leaves them."""

    def __init__(self, voices: Path, indexes: Path) -> None:
        self._voices = voices
        self._indexes = indexes

    def voices(self) -> dict[str, VoiceEntry]:
        """All voices by name, sorted."""
        found: dict[str, Path] = {}
        for path in _list(self._voices):
            file = _voice_in(path) if path.is_dir() else path
            name = path.name if path.is_dir() else path.stem
            if file is None or file.suffix not in SUFFIXES or not _is_safe(name):
                continue
            if name not in found or _rank(file) < _rank(found[name]):
                found[name] = file
        shared = self._shared_indexes()
        entries = (self._entry(name, found[name], shared) for name in sorted(found))
        return {entry.name: entry for entry in entries if entry is not None}

    def find(self, name: str) -> VoiceEntry:
        """The voice called `name`, with or without its suffix; raise `VoiceNotFound`."""
        voices = self.voices()
        bare = name.rsplit(".", 1)[0] if name.endswith(SUFFIXES) else name
        if name in voices or bare in voices:
            return voices.get(name) or voices[bare]
        raise VoiceNotFound(
            f"There is no voice {name[:80]!r}; {listing(voices)}.", param="model", value=name
        )

    def find_index(self, given: str) -> Path:
        """The index of that name or path relative to the index folder; raise `IndexNotFound`."""
        root = self._indexes.resolve()
        for candidate in (given, given + ".index"):
            if "\0" in candidate:
                break
            path = (root / candidate).resolve()
            if path.suffix == ".index" and path.is_relative_to(root) and path.is_file():
                return path
        raise IndexNotFound(
            f"There is no index {given[:80]!r} in the folder of indexes.",
            param="index_path",
            value=given,
        )

    def indexes_of(self, name: str) -> list[Path]:
        """Indexes that belong to a voice of that name by their own, whether it is there or not."""
        return [path for path in self._shared_indexes() if _belongs(path, name)]

    def _shared_indexes(self) -> list[Path]:
        return [*_indexes_in(self._voices), *_index_files(self._indexes)]

    def _entry(self, name: str, path: Path, shared: list[Path]) -> VoiceEntry | None:
        try:
            stat = path.stat()
        except OSError:  # gone since the folder was listed
            return None
        own = [] if path.parent == self._voices else _indexes_in(path.parent)
        index = _best(name, own) or _best(name, [p for p in shared if _belongs(p, name)])
        return VoiceEntry(name, path, index, stat.st_size, stat.st_mtime_ns)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def rmvpe_weights(models: Path) -> Path:
    """Where the weights of the F0 estimator RMVPE lie."""
    return models / "f0" / "rmvpe.pt"


def default_f0_method(models: Path) -> str:
    """What the F0 method "auto" means with these models."""
    return "rmvpe" if rmvpe_weights(models).is_file() else "fcpe"


def listing(voices: dict[str, VoiceEntry]) -> str:
    """The names of `voices` in words, for messages."""
    if not voices:
        return "none is installed"
    names = list(voices)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "there are " + ", ".join(names[:_SHOWN]) + more


def _list(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _rank(path: Path) -> int:
    return SUFFIXES.index(path.suffix)


def _is_safe(name: str) -> bool:
    return bool(name) and not name.startswith(".") and not _UNSAFE.search(name)


def _voice_in(folder: Path) -> Path | None:
    files = [p for p in _list(folder) if p.suffix in SUFFIXES and p.is_file()]
    voices = [p for p in files if not _OTHER_NETWORKS.fullmatch(p.stem)] or files
    return min(voices, key=_rank, default=None)


def _index_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.index")) if folder.is_dir() else []


def _indexes_in(folder: Path) -> list[Path]:
    return [path for path in _list(folder) if path.suffix == ".index"]


def _best(name: str, indexes: list[Path]) -> Path | None:
    usable = [path for path in indexes if not path.stem.startswith("trained_")]
    return min(usable, key=lambda path: (path.stem != name, path.name), default=None)


def _belongs(index: Path, voice: str) -> bool:
    """Whether the index is `VOICE.index` or, as training writes it, `added_..._VOICE_v2.index`."""
    pattern = rf"(?:added_.*_)?{re.escape(voice)}(?:_v[12])?"
    return re.fullmatch(pattern, index.stem, re.IGNORECASE) is not None
