"""The jobs of all servers that share a database: each verb is one transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from server.jobs.database import Database
from server.jobs.errors import (
    DiskQuotaExceeded,
    IdempotencyConflict,
    JobConflict,
    JobInterrupted,
    TooManyJobs,
)
from server.jobs.moves import end, get_job, move
from server.jobs.records import FINAL, Fault, Job, Order, Result, State, Ticket
from server.jobs.rows import SELECT, job_of, order_text, record_text

MOST_STARTS = 2  # of a job that ran when its server died: it may be why
RETRY_AFTER_S = 10
ALL = 2**62
NEXT = """
SELECT id FROM jobs AS mine WHERE state = 'queued' AND not_before <= :now AND (
    SELECT count(*) FROM jobs WHERE state = 'running' AND key_name = mine.key_name
) < :most ORDER BY (
    SELECT count(*) FROM jobs WHERE state = 'running' AND key_name = mine.key_name
), (
    SELECT max(started) FROM jobs WHERE key_name = mine.key_name
), seq LIMIT 1
"""


@dataclass(frozen=True)
class Bounds:
    """What jobs may take: `queued` and `running` for each key, `disk_bytes` all together."""

    queued: int
    running: int
    disk_bytes: int


class JobStore:
    """Safe to call from any thread; `clock` tells seconds since 1970.

    Whoever was given a job by `claim` owns it, until the job ends or is put back; verbs of an
    owner answer False, and do nothing, when the job is no longer theirs.
    """

    def __init__(
        self, database: Database, bounds: Bounds, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._bounds = bounds
        self._clock = clock

    def add(
        self, job_id: str, order: Order, ticket: Ticket, size_bytes: int, place: Callable[[], None]
    ) -> tuple[Job, bool]:
        """Queue a job whose files get their place meanwhile; False if the job was there before.

        Raises `IdempotencyConflict`, `TooManyJobs` or `DiskQuotaExceeded`.
        """
        with self._database.write() as rows:
            known = _known(rows, ticket)
            if known is not None:
                return known, False
            self._check_line(rows, ticket.key_name)
            self._check_disk(rows, size_bytes)
            now = self._clock()
            rows.execute(
                "INSERT INTO jobs (id, key_name, type, request_hash, idempotency_key, params, "
                "state, created, not_before, bytes) VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?)",
                (
                    *(job_id, ticket.key_name, order.kind, ticket.request_hash),
                    *(ticket.idempotency_key, order_text(order), now, now, size_bytes),
                ),
            )
            place()
            return get_job(rows, job_id), True

    def known(self, ticket: Ticket) -> Job | None:
        """The job that the same request made before; raise `IdempotencyConflict`."""
        with self._database.read() as rows:
            return _known(rows, ticket)

    def get(self, job_id: str) -> Job:
        """The job as it is now; raise `JobNotFound`."""
        with self._database.read() as rows:
            return get_job(rows, job_id)

    def page(
        self,
        key_name: str | None = None,
        state: State | None = None,
        before: int | None = None,
        limit: int = ALL,
    ) -> list[Job]:
        """The newest jobs, of one key or all and in one state or any, numbered below `before`."""
        wanted = {"key_name": key_name, "jobs.state": state.value if state else None}
        given = {column: value for column, value in wanted.items() if value is not None}
        tests = "".join(f" AND {column} = ?" for column in given)
        query = f"{SELECT} WHERE seq < ?{tests} ORDER BY seq DESC LIMIT ?"
        with self._database.read() as rows:
            values = (ALL if before is None else before, *given.values(), limit)
            return [job_of(row) for row in rows.execute(query, values)]

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        with self._database.read() as rows:
            found = dict(rows.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
        return {state: found.get(state.value, 0) for state in State}

    def has_due(self) -> bool:
        """Whether a job is in line, so that a claim is worth a transaction."""
        query = "SELECT 1 FROM jobs WHERE state = 'queued' AND not_before <= ? LIMIT 1"
        with self._database.read() as rows:
            return rows.execute(query, (self._clock(),)).fetchone() is not None

    def claim(self, owner: str) -> Job | None:
        """Start the job whose turn it is; keys with the fewest running go first, in turn."""
        with self._database.write() as rows:
            now = self._clock()
            found = rows.execute(NEXT, {"now": now, "most": self._bounds.running}).fetchone()
            if found is None:
                return None
            job = get_job(rows, found["id"])
            values = {
                **{"attempt": job.attempt + 1, "fence": job.fence + 1, "owner": owner},
                **{"started": now, "progress": 0.0},
            }
            move(rows, job, State.RUNNING, values)
            return get_job(rows, job.id)

    def note_progress(self, job: Job, progress: float, stage: str) -> bool:
        """As an owner, keep how far the job is."""
        query = "UPDATE jobs SET progress = ?, stage = ? WHERE id = ? AND fence = ? AND state = ?"
        with self._database.write(durable=False) as rows:
            values = (progress, stage, job.id, job.fence, State.RUNNING.value)
            return rows.execute(query, values).rowcount > 0

    def is_owned(self, job: Job) -> bool:
        """Whether the job still belongs to whoever was given it as it is in `job`."""
        query = "SELECT 1 FROM jobs WHERE id = ? AND fence = ? AND state = ?"
        with self._database.read() as rows:
            found = rows.execute(query, (job.id, job.fence, State.RUNNING.value))
            return found.fetchone() is not None

    def succeed(self, job: Job, result: Result, size_bytes: int) -> bool:
        """As an owner, end the job well."""
        values = {"result": record_text(result), "bytes": size_bytes, "progress": 1.0}
        return self._end(job, State.SUCCEEDED, values)

    def fail(self, job: Job, fault: Fault) -> bool:
        """As an owner, end the job badly; a job that waits has none, and fails too."""
        return self._end(job, State.FAILED, {"error": record_text(fault)})

    def postpone(self, job: Job, delay_s: float) -> bool:
        """As an owner, put the job back in line for later; this start does not count."""
        values = {"not_before": self._clock() + delay_s, "postponed": job.postponed + 1}
        return self._put_back(job, {**values, "attempt": job.attempt - 1})

    def give_back(self, job: Job) -> bool:
        """As an owner, put the job back in line; this start does not count."""
        return self._put_back(job, {"attempt": job.attempt - 1})

    def cancel(self, job_id: str) -> bool:
        """Cancel the job if it waits or runs; raise `JobNotFound`."""
        with self._database.write() as rows:
            return end(rows, get_job(rows, job_id), State.CANCELLED, self._clock(), {})

    def retry(self, job_id: str) -> Job:
        """Put a failed or cancelled job in line again; raise `JobConflict` or `TooManyJobs`."""
        with self._database.write() as rows:
            job = get_job(rows, job_id)
            if job.state not in (State.FAILED, State.CANCELLED):
                raise JobConflict(
                    f"The job is {job.state.value}; only failed and cancelled ones start again."
                )
            self._check_line(rows, job.key_name)
            fresh = {"interruptions": 0, "postponed": 0, "progress": 0.0, "owner": None}
            past = {"error": None, "finished": None, "not_before": self._clock()}
            move(rows, job, State.QUEUED, {**fresh, **past})
            rows.execute("DELETE FROM deliveries WHERE job_id = ?", (job_id,))
            return get_job(rows, job_id)

    def delete(self, job_id: str) -> None:
        """Forget a job that has ended; raise `JobConflict` if it waits or runs."""
        with self._database.write() as rows:
            state = get_job(rows, job_id).state
            if state not in FINAL:
                raise JobConflict(f"The job is {state.value}; cancel it first.")
            rows.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def recover(self, is_run: Callable[[Job], bool]) -> tuple[list[Job], list[Job]]:
        """Take running jobs that nobody runs any more from their owners.

        The answer is those now in line again, and those that failed as it was the second time.
        """
        fault = Fault(JobInterrupted.code, "The server died twice while the job ran.")
        lost = [job for job in self.page(state=State.RUNNING) if not is_run(job)]
        first = [job for job in lost if job.interruptions + 1 < MOST_STARTS]
        requeued = [
            job for job in first if self._put_back(job, {"interruptions": job.interruptions + 1})
        ]
        failed = [job for job in lost if job not in first and self.fail(job, fault)]
        return requeued, failed

    def _put_back(self, job: Job, values: dict[str, object]) -> bool:
        unowned: dict[str, object] = {"owner": None, "progress": 0.0, "stage": None}
        with self._database.write() as rows:
            return move(rows, job, State.QUEUED, {**unowned, **values})

    def _end(self, job: Job, state: State, values: Mapping[str, object]) -> bool:
        with self._database.write() as rows:
            return end(rows, job, state, self._clock(), values)

    def _check_line(self, rows: sqlite3.Connection, key_name: str) -> None:
        query = "SELECT count(*) FROM jobs WHERE state = 'queued' AND key_name = ?"
        (n_queued,) = rows.execute(query, (key_name,)).fetchone()
        if n_queued >= self._bounds.queued:
            raise TooManyJobs(
                f"{n_queued} of your jobs wait already; come back when some have run.",
                retry_after_s=RETRY_AFTER_S,
            )

    def _check_disk(self, rows: sqlite3.Connection, size_bytes: int) -> None:
        (used,) = rows.execute("SELECT coalesce(sum(bytes), 0) FROM jobs").fetchone()
        if used + size_bytes > self._bounds.disk_bytes:
            raise DiskQuotaExceeded(
                f"Jobs take {used} of the {self._bounds.disk_bytes} bytes that they may, and this "
                f"one takes {size_bytes}; delete some that have ended."
            )


def _known(rows: sqlite3.Connection, ticket: Ticket) -> Job | None:
    if ticket.idempotency_key is None:
        return None
    query = f"{SELECT} WHERE key_name = ? AND idempotency_key = ?"
    row = rows.execute(query, (ticket.key_name, ticket.idempotency_key)).fetchone()
    if row is None:
        return None
    job = job_of(row)
    if job.request_hash != ticket.request_hash:
        raise IdempotencyConflict(
            f"The Idempotency-Key belongs to another request, that of job {job.id}.",
            param="Idempotency-Key",
        )
    return job
