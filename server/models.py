"""The voices and indexes on disk; each call looks again, so new files need no restart."""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from server.errors import IndexNotFound, VoiceNotFound, VoiceRequired

SUFFIXES = (".safetensors", ".pth")  # the safer kind first, where both are there
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f/\\]")
OTHER_NETWORKS = re.compile(r"[GD](_\d+|_latest)?", re.IGNORECASE)  # names training gives its own


@dataclass(frozen=True)
class VoiceEntry:
    """A voice on disk: its file, what the file looked like, and the index that belongs to it."""

    name: str
    path: Path
    index: Path | None
    size: int
    mtime_ns: int


class ModelRegistry:
    """Finds voices and indexes under two folders; no name from outside leaves them."""

    def __init__(self, voices_dir: Path, indexes_dir: Path) -> None:
        self._voices_dir = voices_dir
        self._indexes_dir = indexes_dir
        self._hashes: dict[tuple[Path, int, int], str] = {}
        self._hashing = threading.Lock()

    def voices(self) -> dict[str, VoiceEntry]:
        """All voices by name, sorted."""
        found: dict[str, Path] = {}
        for path in _list(self._voices_dir):
            file = _voice_in(path) if path.is_dir() else path
            name = path.name if path.is_dir() else path.stem
            if file is None or file.suffix not in SUFFIXES or not _is_safe(name):
                continue
            if name not in found or SUFFIXES.index(file.suffix) < _rank(found[name]):
                found[name] = file
        shared = [*_indexes_in(self._voices_dir), *_index_files(self._indexes_dir)]
        entries = (self._entry(name, found[name], shared) for name in sorted(found))
        return {entry.name: entry for entry in entries if entry is not None}

    def find(self, name: str) -> VoiceEntry:
        """The voice called `name`, with or without its suffix; raise `VoiceNotFound`."""
        voices = self.voices()
        bare = name.rsplit(".", 1)[0] if name.endswith(SUFFIXES) else name
        if name in voices or bare in voices:
            return voices.get(name) or voices[bare]
        raise VoiceNotFound(f"There is no voice {name!r:.80}; {_listing(voices)}.", param="model")

    def choose(self, name: str | None, default: str | None) -> VoiceEntry:
        """The voice called `name`, else the default, else the only one; raise `VoiceRequired`."""
        wanted = name or default
        if wanted:
            return self.find(wanted)
        voices = self.voices()
        if len(voices) != 1:
            raise VoiceRequired(f"Name a voice; {_listing(voices)}.", param="model")
        return next(iter(voices.values()))

    def find_index(self, given: str) -> Path:
        """The index of that name or path relative to the index folder; raise `IndexNotFound`."""
        root = self._indexes_dir.resolve()
        for candidate in (given, given + ".index"):
            if "\0" in candidate:
                break
            path = (root / candidate).resolve()
            if path.suffix == ".index" and path.is_relative_to(root) and path.is_file():
                return path
        raise IndexNotFound(
            f"There is no index {given!r:.80} in the folder of indexes.", param="index_path"
        )

    def known_hash(self, entry: VoiceEntry) -> str | None:
        """What `content_hash` said about the file as it is now, if it was asked."""
        return self._hashes.get((entry.path, entry.size, entry.mtime_ns))

    def content_hash(self, entry: VoiceEntry) -> str:
        """Eight hexadecimal digits that name the file's content."""
        with self._hashing:
            known = self.known_hash(entry)
            if known is None:
                known = _sha256(entry.path)[:8]
                self._hashes[(entry.path, entry.size, entry.mtime_ns)] = known
            return known

    def _entry(self, name: str, path: Path, shared: list[Path]) -> VoiceEntry | None:
        try:
            stat = path.stat()
        except OSError:  # gone since the folder was listed
            return None
        own = [] if path.parent == self._voices_dir else _indexes_in(path.parent)
        index = _best(name, own) or _best(name, [p for p in shared if _names(p, name)])
        return VoiceEntry(name, path, index, stat.st_size, stat.st_mtime_ns)


def _list(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _rank(path: Path) -> int:
    return SUFFIXES.index(path.suffix)


def _is_safe(name: str) -> bool:
    return bool(name) and not name.startswith(".") and not UNPRINTABLE.search(name)


def _voice_in(folder: Path) -> Path | None:
    files = [p for p in _list(folder) if p.suffix in SUFFIXES and p.is_file()]
    voices = [p for p in files if not OTHER_NETWORKS.fullmatch(p.stem)] or files
    return min(voices, key=_rank, default=None)


def _index_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.index")) if folder.is_dir() else []


def _indexes_in(folder: Path) -> list[Path]:
    return [path for path in _list(folder) if path.suffix == ".index"]


def _best(name: str, indexes: list[Path]) -> Path | None:
    usable = [path for path in indexes if not path.stem.startswith("trained_")]
    return min(usable, key=lambda path: (path.stem != name, path.name), default=None)


def _names(index: Path, voice: str) -> bool:
    """Whether the index is `VOICE.index` or, as training writes it, `added_..._VOICE_v2.index`."""
    pattern = rf"(?:added_.*_)?{re.escape(voice)}(?:_v[12])?"
    return re.fullmatch(pattern, index.stem, re.IGNORECASE) is not None


def _listing(voices: dict[str, VoiceEntry]) -> str:
    if not voices:
        return "none is installed"
    names = list(voices)
    more = f" and {len(names) - 50} more" if len(names) > 50 else ""
    return "there are " + ", ".join(names[:50]) + more


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
