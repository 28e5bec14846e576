"""What one transaction can do to one job; only allowed moves happen."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from server.jobs.errors import JobNotFound
from server.jobs.records import MOVES, Job, State
from server.jobs.rows import SELECT, job_of


def get_job(rows: sqlite3.Connection, job_id: str) -> Job:
    """The job of that id; raise `JobNotFound`."""
    row = rows.execute(f"{SELECT} WHERE jobs.id = ?", (job_id,)).fetchone()
    if row is None:
        raise JobNotFound(f"There is no job {job_id[:80]!r}.", param="job_id")
    return job_of(row)


def move(rows: sqlite3.Connection, job: Job, to: State, values: Mapping[str, object]) -> bool:
    """Bring the job into state `to`, with new `values` by column.

    False, and nothing done, where it may not go there or is no longer as in `job`.
    """
    if to not in MOVES[job.state]:
        return False
    sets = "".join(f", {column} = ?" for column in values)
    query = f"UPDATE jobs SET state = ?{sets} WHERE id = ? AND state = ? AND fence = ?"
    given = (to.value, *values.values(), job.id, job.state.value, job.fence)
    return rows.execute(query, given).rowcount > 0


def end(
    rows: sqlite3.Connection,
    job: Job,
    to: State,
    now: float,
    values: Mapping[str, object],
) -> bool:
    """Bring the job to an end, if it is still as in `job`, and note that its webhook is due."""
    if not move(rows, job, to, {"finished": now, "stage": None, **values}):
        return False
    if job.order.webhook_url is not None:
        rows.execute(
            "INSERT OR REPLACE INTO deliveries (job_id, state, next_at) VALUES (?, 'pending', ?)",
            (job.id, now),
        )
    return True
