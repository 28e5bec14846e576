"""The voices and indexes of this server: which one a request means, and what identifies it."""

from __future__ import annotations

import threading
from pathlib import Path

from rvc_core.errors import VoiceNotFound
from rvc_core.library import VoiceEntry, VoiceLibrary, file_hash, listing
from server.errors import VoiceRequired


class ModelRegistry:
    """Finds voices and indexes on disk; each call looks again, so new files need no restart."""

    def __init__(self, voices_dir: Path, indexes_dir: Path) -> None:
        self._library = VoiceLibrary(voices_dir, indexes_dir)
        self._hashes: dict[tuple[Path, int, int], str] = {}
        self._hashing = threading.Lock()

    def voices(self) -> dict[str, VoiceEntry]:
        """All voices by name, sorted."""
        return self._library.voices()

    def find(self, name: str) -> VoiceEntry:
        """The voice called `name`, with or without its suffix; raise `VoiceNotFound`."""
        return self._library.find(name)

    def choose(self, name: str | None, default: str | None) -> VoiceEntry:
        """The voice called `name`, else the default, else the only one; raise `VoiceRequired`."""
        wanted = name or default
        if wanted:
            return self.find(wanted)
        voices = self.voices()
        if len(voices) != 1:
            raise VoiceRequired(f"Name a voice; {listing(voices)}.", param="model")
        return next(iter(voices.values()))

    def find_index(self, given: str) -> Path:
        """The index of that name or path relative to the index folder; raise `IndexNotFound`."""
        return self._library.find_index(given)

    def indexes_of(self, name: str) -> list[Path]:
        """Indexes that belong to a voice of that name by their own, whether it is there or not."""
        return self._library.indexes_of(name)

    def known_hash(self, entry: VoiceEntry) -> str | None:
        """What `content_hash` said about the file as it is now, if it was asked."""
        return self._hashes.get(entry.identity)

    def content_hash(self, entry: VoiceEntry) -> str:
        """Eight hexadecimal digits that name the file's content."""
        with self._hashing:
            known = self.known_hash(entry)
            if known is None:
                try:
                    known = file_hash(entry.path)[:8]
                except FileNotFoundError:  # removed while a request for it stood in line
                    raise VoiceNotFound(
                        f"The voice {entry.name!r} was removed.", param="model", value=entry.name
                    ) from None
                self._hashes[entry.identity] = known
            return known
