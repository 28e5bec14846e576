"""The slow half of each move: runs without the lock and reports its end to the scheduler."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from gpu.books import Books, Job
from gpu.effects import Effects, attempt, is_alive, weak
from gpu.endings import Endings
from gpu.oom import is_out_of_memory
from gpu.room import RoomMaker
from gpu.scheduler import Scheduler
from gpu.state import Model

logger = logging.getLogger(__name__)


class Moves:
    """Carries out jobs; each ends in exactly one call to the scheduler, whatever happens."""

    def __init__(
        self, books: Books, scheduler: Scheduler, endings: Endings, effects: Effects
    ) -> None:
        self._books = books
        self._gate = scheduler.gate
        self._endings = endings
        self._effects = effects
        self.room = RoomMaker(books, scheduler.gate, scheduler.settler, self.run, effects)

    def run(self, job: Job) -> bool:
        """Do the move in this thread; False if it failed or was called off."""
        step = {"load": self._load, "offload": self._offload, "release": self._release}
        return step[job.action](job)

    def _load(self, job: Job) -> bool:
        entry, spec = job.entry, job.entry.spec
        with self._gate:
            restores = entry.model is not None
        loaded: list[Model] = []  # emptied before the lock is free: a frame's reference is a leak

        def bring() -> int:
            if entry.model is not None:
                self._effects.restore(entry.model)
                return entry.model.nbytes
            loaded.append(self._effects.load(spec))
            return loaded[0].nbytes

        n_bytes, error = attempt(bring, f"Loading {spec.id}")
        if error is not None and is_out_of_memory(error):
            loaded.clear()
            with self._gate:
                self._books.count(entry, out_of_memory=1)
            self.room.make(entry.need_bytes)
            n_bytes, error = attempt(bring, f"Loading {spec.id} once more")
            if error is not None and is_out_of_memory(error):
                error = self.room.device_full(spec.id, entry.need_bytes)
        if error is not None or n_bytes is None:
            loaded.clear()
            return self._fail(job, error or TypeError("The model's nbytes is None."))
        with self._gate:
            self._endings.loaded(job, loaded.pop() if loaded else None, n_bytes)
        logger.info("%s %s", "Restored" if restores else "Loaded", spec.id)
        return True

    def _offload(self, job: Job) -> bool:
        entry = job.entry
        with self._gate:
            if entry.epoch != job.epoch:
                return False  # a request came first and keeps the model
            entry.committed = True
            n_bytes = self._books.ledger.of(entry.key)

        def leave() -> None:
            if entry.model is not None:
                self._effects.offload(entry.model, n_bytes)

        _, error = attempt(leave, f"Offloading {entry.spec.id}")
        if error is not None:
            return self._fail(job, error)
        with self._gate:
            self._endings.offloaded(job)
        logger.info("Offloaded %s (%s)", entry.spec.id, job.reason)
        return True

    def _release(self, job: Job) -> bool:
        entry = job.entry
        with self._gate:
            n_bytes = self._books.ledger.of(entry.key)
            reference, entry.model = weak(entry.model), None
        leaked = is_alive(reference)
        attempt(lambda: self._effects.freed(n_bytes), f"Freeing {entry.spec.id}")
        with self._gate:
            self._endings.released(job, leaked)
        logger.info("Released %s (%s)", entry.spec.id, job.reason)
        if leaked:
            logger.warning("%s was released, but something still holds it.", entry.spec.id)
        return True

    def _fail(self, job: Job, cause: BaseException) -> bool:
        with self._gate:
            self._endings.failed(job, cause)
        attempt(lambda: self._effects.freed(0), f"Letting go of {job.entry.spec.id}")
        if not isinstance(cause, Exception):
            raise cause  # an interrupt was meant for the thread, not for the model
        return False


def start_thread(name: str, work: Callable[[], object]) -> None:
    """Run `work` in a new daemon thread, or here if the system has no thread left."""
    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError:
        work()
