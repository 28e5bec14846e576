"""Workers with real processes; what runs in them is in `servants.py`."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from gpu.errors import TaskFailed, WorkerBusy
from gpu.worker import Worker
from tests.gpu import servants
from tests.gpu.errands import (
    PATIENCE_S,
    Errand,
    opened,
    token_on_real_clock,
)
from tests.gpu.fakes import FakeClock, until


def test_a_task_runs_in_another_process(worker: Worker) -> None:
    assert worker.run(servants.give_pid, None) == worker.view.pid != os.getpid()


def test_a_large_argument_and_result_come_through_whole(worker: Worker) -> None:
    body = bytes(range(250)) * 20_000
    assert worker.run(partial(servants.give_back, body)) == body


def test_an_error_keeps_its_type_and_its_attributes(worker: Worker) -> None:
    with pytest.raises(servants.KeywordError, match="pitch must not be 7") as caught:
        worker.run(servants.raise_keyword)
    assert (caught.value.param, caught.value.value) == ("pitch", 7)
    assert "raise_keyword" in str(caught.value.__cause__)  # where it was raised


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (servants.raise_locked, "LockedError: holds a lock"),
        (servants.give_lock, "lock"),
        (servants.raise_exit, "SystemExit: 3"),
    ],
)
def test_what_cannot_travel_fails_its_task_only(worker: Worker, task: Any, text: str) -> None:
    before = worker.view
    with pytest.raises(TaskFailed, match=text):
        worker.run(task)
    assert worker.run(servants.give_pid) == before.pid


def test_a_task_that_cannot_travel_fails_in_the_callers_thread(worker: Worker) -> None:
    with pytest.raises(TypeError, match="lock"):
        worker.run(threading.Lock())
    assert worker.run(servants.give_pid) == worker.view.pid


def test_all_reports_come_in_order_before_the_result(worker: Worker) -> None:
    reports: list[int] = []
    assert worker.run(partial(servants.count, 500), None, reports.append) == "counted"
    assert reports == list(range(500))


def test_the_process_is_told_what_is_left_of_the_deadline(worker: Worker) -> None:
    timeout_s = worker.run(servants.give_timeout, token_on_real_clock(50.0))
    assert 40.0 < timeout_s <= 50.0
    assert worker.run(servants.give_timeout, None) is None


def test_a_call_is_answered_beside_a_running_task(worker: Worker) -> None:
    token = token_on_real_clock()
    errand = Errand(worker, servants.hold, token)
    errand.until_running()
    assert worker.call("feel", mood="calm") == "calm"
    assert errand.error is None
    token.cancelled = True
    errand.until_ended()


def test_a_call_raises_what_the_servant_raised(worker: Worker) -> None:
    with pytest.raises(servants.KeywordError, match="name must not be fail"):
        worker.call("fail")


def test_a_call_that_takes_too_long_says_so(worker: Worker) -> None:
    with pytest.raises(WorkerBusy, match=r"hang within 0\.05 s"):
        worker.call("hang", timeout_s=0.05)


def test_the_heartbeat_brings_the_status() -> None:
    changes: list[str] = []
    clock = FakeClock()
    with opened(clock=clock, on_change=lambda: changes.append("changed")) as worker:
        assert worker.wait_up(PATIENCE_S)
        assert worker.view.status == {"mood": "calm"}
        n_changes = len(changes)
        clock.advance(7.0)
        worker.call("feel", mood="merry")
        until(lambda: worker.view.status == {"mood": "merry"})
        assert worker.view.heartbeat_age_s == 0.0
        assert len(changes) > n_changes


def test_the_heart_beats_while_nothing_happens() -> None:
    clock = FakeClock()
    with opened(clock=clock) as worker:
        assert worker.wait_up(PATIENCE_S)
        clock.advance(7.0)
        until(lambda: worker.view.heartbeat_age_s == 0.0)


def test_changes_are_told_without_a_lock_and_may_fail() -> None:
    seen: list[str] = []

    def look_from_another_thread() -> None:
        with ThreadPoolExecutor(1) as thread:
            seen.append(thread.submit(lambda: watched.view.state).result(PATIENCE_S))
        raise LookupError("on_change is foreign code")

    watched = Worker(0, servants.FakeServant, on_change=look_from_another_thread)
    watched.start()
    assert watched.wait_up(PATIENCE_S)
    watched.close(0.0)
    assert seen[0] == "up"
    assert seen[-1] == "closed"


def test_a_failing_status_does_not_stop_the_heartbeat() -> None:
    with opened() as worker:
        assert worker.wait_up(PATIENCE_S)
        worker.call("feel", mood="ill")
        until(lambda: worker.view.status is None)
        worker.call("feel", mood="calm")
        until(lambda: worker.view.status is not None)


def test_four_workers_do_almost_four_times_as_much_as_one() -> None:
    workers = [Worker(index, servants.FakeServant) for index in range(4)]
    for worker in workers:
        worker.start()
    try:
        assert all(worker.wait_up(PATIENCE_S) for worker in workers)
        best = {1: float("inf"), 4: float("inf")}
        for _ in range(3):
            for n_workers in best:
                took_s = time_16_tasks(workers[:n_workers])
                best[n_workers] = min(best[n_workers], took_s)
            if best[1] >= 3.6 * best[4]:
                break
        assert best[1] >= 3.6 * best[4]
    finally:
        for worker in workers:
            worker.close(0.0)


def time_16_tasks(workers: list[Worker]) -> float:
    """Seconds that 16 tasks of 0.2 s take in 16 threads."""
    task = partial(servants.sleep, 0.2)
    with ThreadPoolExecutor(16) as threads:
        started = time.monotonic()
        done = [threads.submit(workers[n % len(workers)].run, task) for n in range(16)]
        assert [each.result() for each in done] == [None] * 16
        return time.monotonic() - started
