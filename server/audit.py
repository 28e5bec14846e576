"""Records of what administrators asked for and of keys that were refused, one JSON line each."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from server.log_files import RotatingFile, open_rotating
from server.setting_groups import LogSettings

logger = logging.getLogger(__name__)

SECRET = ("secret", "key", "token", "password", "authorization")  # in a name: its value stays out
MOST_CHARACTERS = 200  # of a value


class AuditLog:
    """Writes records to the file that `settings` name; without one it does nothing.

    A record that cannot be written is lost, which the log says once. Raises `InvalidSetting` if
    the file cannot be opened.
    """

    def __init__(self, settings: LogSettings) -> None:
        self._file: RotatingFile | None = None
        if settings.audit_log is not None:
            self._file = open_rotating("AUDIT_LOG", settings.audit_log, settings, _complain)

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a record, with the time, and flush it."""
        if self._file is not None:
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            line = json.dumps({"time": now, **record})
            self._file.handle(logging.makeLogRecord({"msg": "%s", "args": (line,)}))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def without_secrets(values: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values among `values`, shortened, but none whose name sounds like a secret."""
    return {
        name[:MOST_CHARACTERS]: value[:MOST_CHARACTERS] if isinstance(value, str) else value
        for name, value in values.items()
        if isinstance(value, (str, bool, int, float, type(None))) and not _sounds_secret(name)
    }


def _sounds_secret(name: str) -> bool:
    return any(word in name.lower() for word in SECRET)


def _complain(message: str) -> None:
    logger.error("%s", message)
