"""The threads that look after jobs: those that do them, a housekeeper, and one for webhooks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from server.jobs.changes import Changes
from server.jobs.gauges import JobMetrics
from server.jobs.records import Job
from server.jobs.room import Room
from server.jobs.runner import DoJob, Runner
from server.jobs.webhook_rules import sends_webhooks, webhook_policy
from server.settings import Settings

if TYPE_CHECKING:
    from server.jobs.webhooks import Webhooks

logger = logging.getLogger(__name__)

Describe = Callable[[Job], Mapping[str, Any]]
KEEP_HOUSE_S = 5.0
JOIN_S = 5.0


class Crew:
    """Looks after the jobs in `room` from `start` on."""

    def __init__(self, room: Room, changes: Changes, metrics: JobMetrics) -> None:
        self._room = room
        self._changes = changes
        self._metrics = metrics
        self._stopping = threading.Event()
        self._housekeeper: threading.Thread | None = None
        self._webhooks: Webhooks | None = None
        self.runner = Runner(room.store, room.files, changes, metrics, room.owner.id)

    def start(self, settings: Settings, do_job: DoJob, describe: Describe | None) -> None:
        """Put in order what was left behind, then begin; webhooks need `describe`."""
        self._room.owner.forget_the_dead()
        self.keep_house()
        self._room.retention.sweep(self._room.store, self._room.owner.is_alive)
        self.runner.start(do_job, settings.job_workers)
        self._housekeeper = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._housekeeper.start()
        if sends_webhooks(settings) and describe is not None:
            self._start_webhooks(settings, describe)

    def keep_house(self) -> None:
        """Take over from dead servers, notice lost jobs, let old ones expire."""
        requeued, failed = self._room.store.recover(self._is_run)
        for job in (*requeued, *failed):
            logger.warning("Job %s was interrupted.", job.id)
            self._changes.tell(job.id)
        for _ in requeued:
            self._metrics.note_retry("interrupted")
            self._changes.tell()
        self.runner.check_owned()
        for job_id in (*self._room.retention.expire(), *self._room.retention.make_room(0)):
            self._changes.forget(job_id)

    def stop(self) -> None:
        """Begin nothing more; what runs goes on."""
        self._stopping.set()
        self.runner.stop()

    def close(self) -> None:
        """Put what still runs back in line and end all threads."""
        self.stop()
        self.runner.close(JOIN_S)
        if self._webhooks is not None:
            self._webhooks.stop(self._changes, JOIN_S)
        if self._housekeeper is not None:
            self._housekeeper.join(JOIN_S)

    def _is_run(self, job: Job) -> bool:
        owner = self._room.owner
        if job.owner == owner.id:
            return self.runner.is_running(job)
        return job.owner is not None and owner.is_alive(job.owner)

    def _start_webhooks(self, settings: Settings, describe: Describe) -> None:
        from server.jobs.webhooks import Webhooks  # httpx takes a while

        secret, policy = settings.webhook_secret or "", webhook_policy(settings)
        self._webhooks = Webhooks(self._room.database, policy, secret, describe)
        self._webhooks.start(self._changes)

    def _work(self) -> None:
        while not self._stopping.wait(KEEP_HOUSE_S):
            try:
                self.keep_house()
            except Exception:
                logger.exception("Keeping jobs in order failed; it is tried again.")
