"""Files that grow line by line: put aside at a size, and harmless when the disk is full."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from server.setting_groups import LogSettings
from server.setting_specs import InvalidSetting

MIB = 2**20


class RotatingFile(RotatingFileHandler):
    """A log file that is put aside at `max_mb`; `complain` is told once of each series of failures.

    One process only may write to it. Opening raises `OSError`.
    """

    def __init__(
        self, path: Path, max_mb: int, backups: int, complain: Callable[[str], None]
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, maxBytes=max_mb * MIB, backupCount=backups, encoding="utf-8")
        self._complain = complain
        self._fails = False

    def close(self) -> None:
        """Close the file; what a full disk has not taken by now is lost."""
        with suppress(OSError):
            super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line and flush it."""
        self._failed_now = False
        super().emit(record)
        self._fails = self._failed_now

    def handleError(self, record: logging.LogRecord) -> None:
        """Say that lines are lost, but only at the first one."""
        self._failed_now = True
        if not self._fails:
            self._fails = True
            self._complain(f"{self.baseFilename} cannot be written; lines are lost.")


def open_rotating(
    key: str, path: Path, settings: LogSettings, complain: Callable[[str], None]
) -> RotatingFile:
    """The file that the setting `key` asks for; raise `InvalidSetting` if it cannot be opened."""
    try:
        return RotatingFile(path, settings.log_max_mb, settings.log_backups, complain)
    except OSError as error:
        raise InvalidSetting(f"{key} is {path}, which cannot be written: {error}.") from None
