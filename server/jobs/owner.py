"""Which server a running job belongs to, and whether that server still lives."""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path

SUFFIX = ".lock"


class Owner:
    """This process among the servers that share a database.

    It holds a lock on a file of its own, which the system takes away from dead processes.
    """

    def __init__(self, folder: Path) -> None:
        self.id = uuid.uuid4().hex
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Locked before it has its name, so nobody can mistake it for that of a dead server.
        unnamed = folder / f".{self.id}.new"
        self._file = os.open(unnamed, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(self._path(self.id))

    def is_alive(self, owner: str) -> bool:
        """Whether that server still runs; the file of a dead one is removed."""
        if owner == self.id:
            return True
        path = self._path(owner)
        try:
            file = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        path.unlink(missing_ok=True)
        return False

    def forget_the_dead(self) -> None:
        """Remove the files of all dead servers."""
        for path in self._folder.glob(f"*{SUFFIX}"):
            self.is_alive(path.name.removesuffix(SUFFIX))

    def close(self) -> None:
        """Be dead to the others."""
        self._path(self.id).unlink(missing_ok=True)
        os.close(self._file)

    def _path(self, owner: str) -> Path:
        return self._folder / f"{owner}{SUFFIX}"
