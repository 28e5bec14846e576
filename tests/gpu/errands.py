"""Workers and tasks in threads, for the tests of workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gpu.errors import GpuError
from gpu.worker import Worker, nothing
from gpu.worker_process import Servant
from tests.gpu import servants
from tests.gpu.fakes import FakeToken, until

PATIENCE_S = 20.0


@contextmanager
def opened(
    build: Callable[[], Servant] = servants.FakeServant,
    clock: Callable[[], float] = time.monotonic,
    on_change: Callable[[], None] = nothing,
) -> Iterator[Worker]:
    """A worker that is coming up, closed after the block."""
    worker = Worker(0, build, clock, on_change)
    worker.start()
    try:
        yield worker
    finally:
        worker.close(0.0)


class Errand:
    """A task in a thread: what it reports, and how it ends."""

    def __init__(self, worker: Worker, task: Any, token: FakeToken | None = None) -> None:
        self.reports: list[Any] = []
        self.answer: Any = None
        self.error: BaseException | None = None
        self.ended_at = 0.0
        self._thread = threading.Thread(target=self._run, args=(worker, task, token))
        self._thread.start()

    def _run(self, worker: Worker, task: Any, token: FakeToken | None) -> None:
        try:
            self.answer = worker.run(task, token, self.reports.append)
        except (GpuError, InterruptedError) as error:
            self.error = error
        self.ended_at = time.monotonic()

    def until_running(self) -> None:
        """Wait for the first report."""
        until(lambda: bool(self.reports))

    def until_ended(self) -> None:
        """Wait for the end."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


class CancelledOnceItRuns(FakeToken):
    """A token that is cancelled at the first check after the task was handed over."""

    def __init__(self) -> None:
        super().__init__(time.monotonic)
        self._n_checks = 0

    def remaining_s(self) -> float:
        return 0.001

    def check(self) -> None:
        self._n_checks += 1
        if self._n_checks > 1:
            raise InterruptedError


def kill(worker: Worker) -> None:
    """Kill the worker's process."""
    pid = worker.view.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def token_on_real_clock(timeout_s: float = 1e9) -> FakeToken:
    return FakeToken(time.monotonic, timeout_s)
