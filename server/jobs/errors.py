"""What can go wrong with jobs: one class for each cause, with a stable `code`."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from server.errors import ServerError

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class JobNotFound(ServerError):
    """The caller has no job of that id."""

    code = "job_not_found"


class JobNotFinished(ServerError):
    """The job has no result yet."""

    code = "job_not_finished"


class JobFailed(ServerError):
    """The job has failed, so it has no result."""

    code = "job_failed"


class JobCancelled(ServerError):
    """The job was cancelled, so it has no result."""

    code = "job_cancelled"


class JobExpired(ServerError):
    """The job's files are gone: it ended too long ago, or its room was needed."""

    code = "job_expired"


class JobConflict(ServerError):
    """The job is in a state from which that cannot be done."""

    code = "job_conflict"


class IdempotencyConflict(ServerError):
    """The Idempotency-Key was used for another request."""

    code = "idempotency_conflict"


class TooManyJobs(ServerError):
    """As many jobs of the caller wait as may."""

    code = "too_many_jobs"


class DiskQuotaExceeded(ServerError):
    """Jobs fill the disk space that they may take."""

    code = "disk_quota_exceeded"


class DiskFull(ServerError):
    """The disk has no room left."""

    code = "disk_full"


class JobInterrupted(ServerError):
    """The server died twice while the job ran."""

    code = "interrupted"


class JobFilesLost(ServerError):
    """The job's recordings are no longer on disk."""

    code = "job_files_lost"


@contextmanager
def naming_full_disks() -> Iterator[None]:
    """Raise `DiskFull` where the block found no room on the disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise DiskFull("The disk has no room left for jobs.") from error
    except sqlite3.OperationalError as error:
        if "full" not in str(error):
            raise
        raise DiskFull("The disk has no room left for jobs.") from error
