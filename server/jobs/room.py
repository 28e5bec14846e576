"""All that jobs keep on disk, opened together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from server.jobs.database import Database
from server.jobs.files import JobFiles
from server.jobs.owner import Owner
from server.jobs.retention import Retention
from server.jobs.store import Bounds, JobStore
from server.settings import Settings

MIB = 1 << 20


@dataclass(frozen=True)
class Room:
    """The database of jobs, their files, and this process among those who share them."""

    database: Database
    store: JobStore
    files: JobFiles
    owner: Owner
    retention: Retention

    def close(self) -> None:
        """Leave it to other servers, or to the next start."""
        self.files.close()
        self.database.close()
        self.owner.close()


def room_path(settings: Settings) -> Path:
    """Where the database of jobs is."""
    return settings.job_db or settings.outputs_dir / "jobs" / "jobs.sqlite3"


def open_room(settings: Settings, clock: Callable[[], float] = time.time) -> Room:
    """Open what is there, or begin anew."""
    path = room_path(settings)
    disk_bytes = settings.job_disk_mb * MIB
    bounds = Bounds(settings.job_queued_per_key, settings.job_running_per_key, disk_bytes)
    database = Database(path)
    owner = Owner(path.with_suffix(".owners"))
    files = JobFiles(path.with_suffix(".files"), owner.id)
    keep_s = settings.job_retention_hours * 3600
    retention = Retention(database, files, keep_s, disk_bytes, clock)
    return Room(database, JobStore(database, bounds, clock), files, owner, retention)
