"""The voices on disk as callers change them; the registry never sees half of one."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from rvc_core.library import SUFFIXES, VoiceEntry
from server.errors import VoiceExists
from server.models import ModelRegistry
from server.voices.intake import INDEX, workspace


class VoiceStore:
    """Publishes, renames and removes voices in `voices_dir`, one change at a time.

    A voice appears under its name by one rename, when its index is there already.
    """

    def __init__(self, registry: ModelRegistry, voices_dir: Path) -> None:
        self._registry = registry
        self._voices_dir = voices_dir
        self._changing = threading.Lock()

    def check_free(self, name: str) -> None:
        """Raise `VoiceExists` if there is a voice of that name."""
        if name in self._registry.voices():
            raise VoiceExists(f"There is a voice {name!r} already.", param="name")

    def add(self, name: str, voice: Path, index: Path | None, overwrite: bool) -> None:
        """Move a voice and its index to where the registry finds them; raise `VoiceExists`.

        With `overwrite` it takes the place of the voice of that name and of that one's index.
        """
        with self._changing:
            if not overwrite:
                self.check_free(name)
            former = self._files(name) if name in self._registry.voices() else []
            old_indexes = self._indexes(name) if former else []
            target = self._voices_dir / (name + voice.suffix)
            kept = {target}
            if index is not None:
                kept.add(self._put(index, self._voices_dir / (name + INDEX)))
            self._put(voice, target)
            self._discard(path for path in [*former, *old_indexes] if path not in kept)

    def add_index(self, entry: VoiceEntry, index: Path, overwrite: bool) -> None:
        """Give a voice an index; raise `VoiceExists` if it has one and `overwrite` is not set."""
        with self._changing:
            if entry.index is not None and not overwrite:
                raise VoiceExists(
                    f"The voice {entry.name!r} has an index; send overwrite to replace it.",
                    param="overwrite",
                )
            self._put(index, entry.index or entry.path.parent / (entry.name + INDEX))

    def rename(self, entry: VoiceEntry, name: str) -> None:
        """Let a voice and its index have another name; raise `VoiceExists`."""
        with self._changing:
            self.check_free(name)
            own = entry.path.parent != self._voices_dir  # a folder, which its index may be in
            old_indexes = self._indexes(entry.name)
            if entry.index is not None and not (own and entry.index.parent == entry.path.parent):
                self._copy(entry.index, self._voices_dir / (name + INDEX))
            for path in self._files(entry.name):
                path.rename(path.with_name(name + ("" if path.is_dir() else path.suffix)))
            self._discard(old_indexes)

    def remove(self, entry: VoiceEntry) -> None:
        """Remove a voice, and then the indexes that belong to it alone."""
        with self._changing:
            self._discard([*self._files(entry.name), *self._indexes(entry.name)])

    def _files(self, name: str) -> list[Path]:
        """Every file and folder that makes a voice of that name, the one that counts last."""
        paths = [self._voices_dir / (name + suffix) for suffix in reversed(SUFFIXES)]
        return [path for path in [*paths, self._voices_dir / name] if path.exists()]

    def _indexes(self, name: str) -> list[Path]:
        """The shared indexes that belong to the voice and are of no use to another."""
        others = [e.index for e in self._registry.voices().values() if e.name != name]
        return [path for path in self._registry.indexes_of(name) if path not in others]

    def _put(self, path: Path, target: Path) -> Path:
        with path.open("rb") as file:
            os.fsync(file.fileno())  # what was promised is there after a loss of power
        return path.replace(target)

    def _copy(self, path: Path, target: Path) -> None:
        with workspace(self._voices_dir) as folder:
            self._put(Path(shutil.copyfile(path, folder / path.name)), target)

    def _discard(self, paths: Iterable[Path]) -> None:
        with workspace(self._voices_dir) as bin:
            for number, path in enumerate(paths):
                if path.is_dir() and not path.is_symlink():
                    path.rename(bin / str(number))  # all of it at once
                else:
                    path.unlink(missing_ok=True)
