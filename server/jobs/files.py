"""The files of jobs: a folder each, in which nothing half-written has a final name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from server.jobs.errors import naming_full_disks

STAGING = "staging"
PART = ".part"


class JobFiles:
    """Keeps the recordings and results of jobs below `root`; `owner` is the server's id."""

    def __init__(self, root: Path, owner: str) -> None:
        self._root = root
        self._staging = root / STAGING / owner
        self._staging.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def staged(self, job_id: str, inputs: Sequence[bytes | None]) -> Iterator[Callable[[], None]]:
        """Write the recordings of a new job; the function yielded gives them their place.

        They are gone at the end of the block if it was not called.
        """
        folder = self._staging / job_id
        try:
            with naming_full_disks():
                folder.mkdir()
                for number, data in enumerate(inputs):
                    if data is not None:
                        with (folder / input_name(number)).open("xb") as file:
                            _write_through(file, data)
                _sync_folder(folder)
            yield lambda: self._place(folder, job_id)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def path(self, job_id: str, name: str) -> Path:
        """Where a file of the job is, or would be."""
        return self._root / job_id / name

    def write(self, job_id: str, name: str, fill: Callable[[IO[bytes]], object]) -> int:
        """Have `fill` write a file; it has its name when it is whole. Its size in bytes."""
        path = self.path(job_id, name)
        unfinished = path.with_name(name + PART)
        try:
            with naming_full_disks():
                with unfinished.open("wb") as file:
                    fill(file)
                    _write_through(file, b"")
                    size_bytes = file.tell()
                unfinished.rename(path)
                _sync_folder(path.parent)
            return size_bytes
        finally:
            unfinished.unlink(missing_ok=True)

    def names(self, job_id: str) -> set[str]:
        """The files of the job; none if it has no folder."""
        try:
            return {path.name for path in (self._root / job_id).iterdir()}
        except FileNotFoundError:
            return set()

    def size_bytes(self, job_id: str) -> int:
        """What the job takes on disk."""
        folder = self._root / job_id
        return sum((folder / name).stat().st_size for name in self.names(job_id))

    def keep_only(self, job_id: str, kept: Iterable[str]) -> None:
        """Remove all other files of the job."""
        for name in self.names(job_id) - set(kept):
            self.path(job_id, name).unlink(missing_ok=True)

    def remove(self, job_id: str) -> None:
        """Remove the job's folder; it may be gone already."""
        shutil.rmtree(self._root / job_id, ignore_errors=True)

    def jobs(self) -> set[str]:
        """The ids of all jobs that have a folder."""
        return {path.name for path in self._root.iterdir() if path.name != STAGING}

    def clear_staging(self, is_alive: Callable[[str], bool]) -> None:
        """Remove what dead servers left before it had its place."""
        for folder in (self._root / STAGING).iterdir():
            if not is_alive(folder.name):
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Take nothing more."""
        shutil.rmtree(self._staging, ignore_errors=True)

    def _place(self, folder: Path, job_id: str) -> None:
        folder.rename(self._root / job_id)
        _sync_folder(self._root)


def input_name(number: int) -> str:
    """The file name of a job's recording of that number, from 0."""
    return f"input-{number}"


def _write_through(file: IO[bytes], data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make names in the folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
