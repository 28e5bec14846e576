"""A worker's process ended on purpose, and another in its place."""

from __future__ import annotations

import time

import pytest

from gpu.errors import WorkerBusy, WorkerLost
from gpu.worker import Worker
from tests.gpu import servants
from tests.gpu.errands import PATIENCE_S, Errand, opened
from tests.gpu.fakes import FakeToken


def build_ill() -> servants.FakeServant:
    """A servant of another mood."""
    servant = servants.FakeServant()
    servant.mood = "moved"
    return servant


def test_renewed_workers_have_other_processes_and_these_are_no_deaths(worker: Worker) -> None:
    """Five deaths in ten minutes would break the circuit, and the second would wait a second."""
    pids = {worker.run(servants.give_pid)}
    for _ in range(2):
        worker.renew(PATIENCE_S)
        pids.add(worker.run(servants.give_pid))
    assert len(pids) == 3
    assert (worker.view.state, worker.view.restarts) == ("up", 2)


def test_the_next_process_is_built_as_was_said_last(worker: Worker) -> None:
    worker.build_with(build_ill)
    worker.renew(PATIENCE_S)
    assert worker.wait_up(PATIENCE_S)
    assert worker.call("feel", mood="calm") == "moved"


def test_a_running_task_is_not_cut_off(worker: Worker) -> None:
    assert worker.wait_up(PATIENCE_S)
    token = FakeToken(time.monotonic)
    errand = Errand(worker, servants.hold, token)
    errand.until_running()
    before = worker.view.pid
    with pytest.raises(WorkerBusy):
        worker.renew(0.01)
    assert worker.view.pid == before
    token.cancel()
    errand.until_ended()


def test_a_process_that_is_not_up_cannot_be_renewed() -> None:
    with opened(servants.refuse) as worker:
        assert not worker.wait_up(0.0)
        with pytest.raises(WorkerLost):
            worker.renew(0.0)
