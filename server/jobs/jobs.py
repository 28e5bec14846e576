"""The verbs of jobs; every door calls them."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from rvc_core.token import Token
from server.errors import Draining
from server.jobs.changes import Changes, Step
from server.jobs.crew import Crew, Describe
from server.jobs.errors import (
    JobCancelled,
    JobExpired,
    JobFailed,
    JobNotFinished,
    JobNotFound,
    naming_full_disks,
)
from server.jobs.gauges import JobMetrics
from server.jobs.items import Convert
from server.jobs.records import FINAL, Job, Order, Result, State, Ticket
from server.jobs.room import Room, open_room, room_path
from server.jobs.runner import is_later
from server.jobs.webhook_rules import check_webhook
from server.jobs.work import Tools, do_job
from server.settings import Settings

LET_GO_S = 5.0  # for cancelled work to notice
LOOK_S = 1.0  # how late a change by another server may be noticed by who waits here


class Jobs:
    """Keeps jobs and does them; safe to call from any thread.

    Nothing is opened, and no thread runs, before the first call that needs it. A `key_name` of
    None sees the jobs of all keys.
    """

    def __init__(
        self,
        settings: Settings,
        convert: Convert,
        n_at_once: Callable[[], int],
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._convert = convert
        self.n_at_once = n_at_once
        self._clock = clock
        self._metrics = JobMetrics(registry, self._counts)
        self._lock = threading.Lock()
        self._changes = Changes()
        self._opened: Room | None = None
        self._crew: Crew | None = None
        self._describe: Describe | None = None
        self._started = False
        self._stopping = False

    # For callers.

    def submit(
        self, order: Order, inputs: Sequence[bytes | None], ticket: Ticket
    ) -> tuple[Job, bool]:
        """Queue a job with the recording of each item that has one.

        False if the same request made it before. Raises `IdempotencyConflict`, `TooManyJobs`,
        `DiskQuotaExceeded`, `DiskFull`, and what is wrong with the webhook's address.
        """
        room = self._room()
        known = room.store.known(ticket)
        if known is not None:
            return known, False
        if order.webhook_url is not None:
            check_webhook(order.webhook_url, self._settings)
        size_bytes = sum(len(data) for data in inputs if data is not None)
        self._note_gone(room.retention.make_room(size_bytes))
        job_id = secrets.token_hex(16)
        try:
            with room.files.staged(job_id, inputs) as place:
                job, is_new = room.store.add(job_id, order, ticket, size_bytes, place)
        except BaseException:
            room.files.remove(job_id)  # it may have its place, but has no row
            raise
        self._begin()
        self._changes.tell()
        return job, is_new

    def get(self, job_id: str, key_name: str | None) -> Job:
        """The job as it is now; raise `JobNotFound`, also for the jobs of others."""
        job = self._room().store.get(job_id)
        if key_name is not None and job.key_name != key_name:
            raise JobNotFound(f"There is no job {job_id[:80]!r}.", param="job_id")
        return job

    def page(
        self, key_name: str | None, state: State | None, before: str | None, limit: int
    ) -> list[Job]:
        """The newest jobs first, from the one after `before` on; raise `JobNotFound`."""
        number = None if before is None else self.get(before, key_name).seq
        return self._room().store.page(key_name, state, number, limit)

    def wait_until_final(self, job: Job, timeout_s: float, token: Token) -> Job:
        """The job as soon as it has ended, or as it is when time is over or `token` cancelled."""
        deadline = time.monotonic() + timeout_s
        while True:
            seen = self._changes.version(job.id)
            job = self.get(job.id, job.key_name)
            left_s = deadline - time.monotonic()
            is_over = left_s <= 0 or token.cancelled or self._changes.is_closed
            if job.state in FINAL or is_over:
                return job
            self._changes.wait(seen, min(LOOK_S, left_s), job.id)

    def step(self, job_id: str) -> Step | None:
        """How far the job is, if it runs in this process."""
        return self._changes.step(job_id)

    @property
    def changes(self) -> Changes:
        """Where to wait for what happens to jobs."""
        return self._changes

    def result(self, job: Job) -> tuple[Result, Path]:
        """The result and its file; raise why there is none."""
        if job.state is State.EXPIRED:
            raise JobExpired("The job's files have been removed.")
        if job.state is State.CANCELLED:
            raise JobCancelled("The job was cancelled.")
        if job.fault is not None and job.state is State.FAILED:
            raise JobFailed(f"The job has failed: {job.fault.code}, {job.fault.message}")
        if job.result is None:
            raise JobNotFinished(f"The job is {job.state.value}.")
        return job.result, self._room().files.path(job.id, job.result.file)

    def expires_at(self, job: Job) -> float | None:
        """When the job's files go, in seconds since 1970; None if it has not ended."""
        return self._room().retention.expires_at(job)

    def cancel(self, job: Job) -> Job:
        """Cancel the job if it waits or runs; else nothing happens."""
        if self._room().store.cancel(job.id):
            if self._crew is not None:
                self._crew.runner.cancel(job.id)
            self._changes.tell(job.id)
            self._changes.tell()
        return self.get(job.id, None)

    def delete(self, job: Job) -> None:
        """Forget a job, with its files; the work on it ends first.

        Raises `JobConflict` if somebody starts it again meanwhile.
        """
        room = self._room()
        if self.cancel(job).state in FINAL and self._crew is not None:
            self._crew.runner.wait_let_go(job.id, LET_GO_S)
        room.store.delete(job.id)
        room.files.remove(job.id)
        self._changes.forget(job.id)

    def retry(self, job: Job) -> Job:
        """Put a failed or cancelled job in line again; raise `JobConflict` or `TooManyJobs`."""
        fresh = self._room().store.retry(job.id)
        self._metrics.note_retry("asked")
        self._begin()
        self._changes.tell(job.id)
        self._changes.tell()
        return fresh

    # For the server.

    def describe_with(self, describe: Describe) -> None:
        """Say how webhooks show jobs; none are sent before that is known."""
        self._describe = describe

    def start(self) -> None:
        """Do jobs from now on, those of before too."""
        self._started = True
        if room_path(self._settings).exists():
            self._begin()

    def keep_house(self) -> None:
        """Do now what is done every few seconds; the jobs must have been started."""
        assert self._crew is not None
        self._crew.keep_house()

    def stop(self) -> None:
        """Begin no further job; those that run go on."""
        self._stopping = True
        if self._crew is not None:
            self._crew.stop()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no job runs here."""
        return self._crew is None or self._crew.runner.wait_idle(timeout_s)

    def close(self) -> None:
        """Put what still runs back in line and wake all who wait."""
        self.stop()
        self._changes.close()
        if self._crew is not None:
            self._crew.close()
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def _room(self) -> Room:
        with self._lock:
            if self._opened is None:
                if self._stopping:
                    raise Draining("The server is shutting down.", retry_after_s=10)
                with naming_full_disks():
                    self._opened = open_room(self._settings, self._clock)
            return self._opened

    def _begin(self) -> None:
        """Start the threads, once there are jobs and the server is warm."""
        room = self._room()
        with self._lock:
            if not self._started or self._crew is not None or self._stopping:
                return
            self._crew = Crew(room, self._changes, self._metrics)
        self._crew.start(self._settings, self._do, self._describe)

    def _do(self, job: Job, token: Token) -> Result:
        room, n_at_once = self._room(), self.n_at_once()
        tools = Tools(room.store, room.files, self._changes, self._convert, is_later, n_at_once)
        return do_job(tools, job, token)

    def _counts(self) -> dict[State, int]:
        room = self._opened
        if room is None or self._stopping:
            return dict.fromkeys(State, 0)
        return room.store.counts()

    def _note_gone(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            self._changes.forget(job_id)
