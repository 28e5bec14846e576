"""The threads that do jobs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from rvc_core.errors import Cancelled
from rvc_core.token import Token
from server.errors import Draining
from server.jobs.changes import Changes
from server.jobs.files import JobFiles
from server.jobs.gauges import JobMetrics
from server.jobs.records import Fault, Job, Result
from server.jobs.shapes import INTERNAL, NAMED, fault_of
from server.jobs.store import JobStore

logger = logging.getLogger(__name__)

IDLE_S = 1.0  # how late a job of another server, or one that was put off, may be noticed
LONGEST_DELAY_S = 30.0
# How often a job is put off for each of these before it fails for it. A full line is what jobs
# are for; a job whose worker dies again and again may be why.
PATIENCE = {
    "queue_full": 240,
    "worker_busy": 60,
    "insufficient_vram": 60,
    "load_backoff": 20,
    "worker_lost": 3,
}

DoJob = Callable[[Job, Token], Result]


def is_later(error: Exception) -> bool:
    """Whether the error says nothing about the job, so that it may be tried again."""
    return isinstance(error, NAMED) and error.code in PATIENCE


class Runner:
    """Does the jobs of `store`, `n_workers` at once, as the owner of that name."""

    def __init__(
        self, store: JobStore, files: JobFiles, changes: Changes, metrics: JobMetrics, owner: str
    ) -> None:
        self._store = store
        self._files = files
        self._changes = changes
        self._metrics = metrics
        self._owner = owner
        self._lock = threading.Condition()
        self._running: dict[tuple[str, int], tuple[Job, Token]] = {}
        self._threads: list[threading.Thread] = []
        self._stopping = False

    def start(self, do_job: DoJob, n_workers: int) -> None:
        """Do jobs from now on."""
        for number in range(n_workers):
            name = f"job-{number}"
            thread = threading.Thread(target=self._work, args=(do_job,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def is_running(self, job: Job) -> bool:
        """Whether a thread of this process is at the job, as it is in `job`."""
        with self._lock:
            return (job.id, job.fence) in self._running

    def cancel(self, job_id: str) -> None:
        """End the work on a job, if it is done here."""
        for job, token in self._at_hand():
            if job.id == job_id:
                token.cancel()

    def check_owned(self) -> None:
        """End the work on jobs that another server has cancelled."""
        for job, token in self._at_hand():
            if not self._store.is_owned(job):
                token.cancel()

    def stop(self) -> None:
        """Begin no further job."""
        with self._lock:
            self._stopping = True
        self._changes.tell()

    def wait_let_go(self, job_id: str, timeout_s: float) -> bool:
        """Wait until the job does not run here."""
        with self._lock:
            return self._lock.wait_for(
                lambda: all(running != job_id for running, _ in self._running), timeout_s
            )

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no job runs."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._running, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Stop, cancel what runs and wait for the threads to end."""
        self.stop()
        for _, token in self._at_hand():
            token.cancel()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _at_hand(self) -> list[tuple[Job, Token]]:
        with self._lock:
            return list(self._running.values())

    def _work(self, do_job: DoJob) -> None:
        while not self._stopping:
            seen = self._changes.version()
            try:
                is_busy = self._do_next(do_job)
            except Exception:
                logger.exception("A job could not be begun or ended; its thread goes on.")
                is_busy = False
            if not is_busy and not self._stopping:
                self._changes.wait(seen, IDLE_S)

    def _do_next(self, do_job: DoJob) -> bool:
        """Do the job whose turn it is; False if there is none."""
        claimed = self._claim()
        if claimed is None:
            return False
        job, token = claimed
        try:
            self._do(do_job, job, token)
        finally:
            with self._lock:
                del self._running[job.id, job.fence]
                self._lock.notify_all()
            self._changes.tell(job.id)
            self._changes.tell()
        return True

    def _claim(self) -> tuple[Job, Token] | None:
        if not self._store.has_due():
            return None
        with self._lock:  # nobody may see the job run before we know it
            job = None if self._stopping else self._store.claim(self._owner)
            if job is None:
                return None
            token = Token(job.order.timeout_s)
            self._running[job.id, job.fence] = (job, token)
        self._changes.tell(job.id)
        return job, token

    def _do(self, do_job: DoJob, job: Job, token: Token) -> None:
        started = time.monotonic()
        try:
            result = do_job(job, token)
        except (Cancelled, Draining):
            self._store.give_back(job)  # if its caller cancelled it, it is no longer ours
        except NAMED as error:
            self._end_badly(job, error)
        except Exception:
            logger.exception("Job %s failed.", job.id)
            self._fail(job, INTERNAL)
        else:
            self._succeed(job, result)
        self._metrics.note_run(job.order.kind, time.monotonic() - started)

    def _succeed(self, job: Job, result: Result) -> None:
        if self._store.succeed(job, result, result.size_bytes):
            self._files.keep_only(job.id, [result.file])
            logger.info("Job %s has succeeded: %d bytes.", job.id, result.size_bytes)

    def _end_badly(self, job: Job, error: Exception) -> None:
        assert isinstance(error, NAMED)
        if job.postponed < PATIENCE.get(error.code, 0):
            delay_s = min(LONGEST_DELAY_S, 2.0**job.postponed)
            if self._store.postpone(job, delay_s):
                self._metrics.note_retry("busy")
                logger.info("Job %s waits for %.0f s: %s", job.id, delay_s, error)
            return
        self._fail(job, fault_of(error))

    def _fail(self, job: Job, fault: Fault) -> None:
        if self._store.fail(job, fault):
            logger.info("Job %s has failed: %s", job.id, fault.code)
