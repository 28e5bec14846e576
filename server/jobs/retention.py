"""How long jobs stay, and how much of the disk they take."""

from __future__ import annotations

import logging
from collections.abc import Callable

from server.jobs.database import Database
from server.jobs.errors import JobFilesLost
from server.jobs.files import JobFiles, input_name
from server.jobs.moves import move
from server.jobs.records import ENDED, Fault, Job, State
from server.jobs.rows import SELECT, job_of
from server.jobs.store import JobStore

logger = logging.getLogger(__name__)

ROW_S = 7 * 86_400.0  # an expired job is remembered for so long after it ended
OLDEST = f"""
{SELECT} WHERE jobs.state IN ({", ".join(f"'{state.value}'" for state in ENDED)})
ORDER BY finished
"""


class Retention:
    """Lets ended jobs expire; `keep_s` is how long their files stay, `disk_bytes` how many."""

    def __init__(
        self,
        database: Database,
        files: JobFiles,
        keep_s: float,
        disk_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._files = files
        self._keep_s = keep_s
        self._disk_bytes = disk_bytes
        self._clock = clock

    def expire(self) -> list[str]:
        """Let old jobs expire and forget the oldest; the ids of all that changed."""
        now = self._clock()
        changed = [job.id for job in self._ended() if self._is_old(job, now) and self._drop(job)]
        return changed + self._forget(now - self._keep_s - ROW_S)

    def expires_at(self, job: Job) -> float | None:
        """When the job's files go, in seconds since 1970; None if it has not ended."""
        return None if job.finished is None else job.finished + self._keep_s

    def make_room(self, size_bytes: int) -> list[str]:
        """Let jobs expire, those that ended first, until so much fits beside the rest."""
        excess = self._used_bytes() + size_bytes - self._disk_bytes
        dropped = []
        for job in self._ended() if excess > 0 else []:
            if excess > 0 and job.size_bytes and self._drop(job):
                excess -= job.size_bytes
                dropped.append(job.id)
        return dropped

    def sweep(self, store: JobStore, is_alive: Callable[[str], bool]) -> None:
        """Remove files without a job, and end jobs without their files."""
        self._files.clear_staging(is_alive)
        with self._database.write() as rows:  # nobody gives files their place meanwhile
            found = rows.execute("SELECT id FROM jobs WHERE state != 'expired'").fetchall()
            for job_id in self._files.jobs() - {row["id"] for row in found}:
                logger.warning("Files of job %s belong to nobody; they are removed.", job_id)
                self._files.remove(job_id)
        for job in store.page(state=State.QUEUED):
            if not self.has_inputs(job):
                store.fail(job, Fault(JobFilesLost.code, "The job's recordings are gone."))
        for job in store.page(state=State.SUCCEEDED):
            if job.result is None or job.result.file not in self._files.names(job.id):
                logger.warning("The result of job %s is gone; it expires.", job.id)
                self._drop(job)
            else:
                self._files.keep_only(job.id, [job.result.file])

    def has_inputs(self, job: Job) -> bool:
        """Whether all recordings of the job are on disk."""
        numbered = enumerate(job.order.items)
        wanted = {input_name(number) for number, item in numbered if item.has_recording}
        return wanted <= self._files.names(job.id)

    def _ended(self) -> list[Job]:
        with self._database.read() as rows:
            return [job_of(row) for row in rows.execute(OLDEST)]

    def _is_old(self, job: Job, now: float) -> bool:
        return job.finished is not None and job.finished + self._keep_s <= now

    def _drop(self, job: Job) -> bool:
        """The row first: a job that says it has a result has one."""
        with self._database.write() as rows:
            if not move(rows, job, State.EXPIRED, {"bytes": 0, "result": None}):
                return False
        self._files.remove(job.id)
        return True

    def _forget(self, ended_before: float) -> list[str]:
        with self._database.write() as rows:
            test = "state = 'expired' AND finished < ?"
            found = rows.execute(f"SELECT id FROM jobs WHERE {test}", (ended_before,)).fetchall()
            rows.execute(f"DELETE FROM jobs WHERE {test}", (ended_before,))
        return [row["id"] for row in found]

    def _used_bytes(self) -> int:
        with self._database.read() as rows:
            (used,) = rows.execute("SELECT coalesce(sum(bytes), 0) FROM jobs").fetchone()
        return int(used)
