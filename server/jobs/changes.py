"""Who waits for a job to change is woken here, without asking the database again and again."""

from __future__ import annotations

import threading
from dataclasses import dataclass

ANY = ""  # what runners wait for: there may be work


@dataclass(frozen=True)
class Step:
    """How far a running job is: `progress` of all in [0, 1], `done` of `total` of a stage."""

    progress: float
    stage: str
    item: int
    done: int
    total: int


class Changes:
    """Tells waiting threads that a job of this process has changed; keeps its last step."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._versions: dict[str, int] = {}
        self._steps: dict[str, Step] = {}
        self._closed = False

    def tell(self, job_id: str = ANY, step: Step | None = None) -> None:
        """The job has changed; it is at `step`, or at none."""
        with self._changed:
            self._versions[job_id] = self._versions.get(job_id, 0) + 1
            if step is None:
                self._steps.pop(job_id, None)
            else:
                self._steps[job_id] = step
            self._changed.notify_all()

    def forget(self, job_id: str) -> None:
        """The job is gone; who waits for it is woken."""
        with self._changed:
            self._versions.pop(job_id, None)
            self._steps.pop(job_id, None)
            self._changed.notify_all()

    def version(self, job_id: str = ANY) -> int:
        """A number that differs after each change."""
        return self._versions.get(job_id, 0)

    def step(self, job_id: str) -> Step | None:
        """How far the job is, if it runs here."""
        return self._steps.get(job_id)

    def wait(self, seen: int, timeout_s: float, job_id: str = ANY) -> None:
        """Wait until the job's version is not `seen`, or for `timeout_s`, or for `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self.version(job_id) != seen, timeout_s)

    @property
    def is_closed(self) -> bool:
        """Whether waiting is over for good."""
        return self._closed

    def close(self) -> None:
        """Wake everybody, now and always."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
