"""Tasks that are cancelled, processes that die, workers that close."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gpu import child as child_module
from gpu import worker as worker_module
from gpu.errors import Draining, WorkerLost
from gpu.worker import Worker
from tests.gpu import servants
from tests.gpu.errands import (
    PATIENCE_S,
    CancelledOnceItRuns,
    Errand,
    kill,
    opened,
    token_on_real_clock,
)
from tests.gpu.fakes import FakeClock, until

# Cancellation


def test_a_cancelled_task_gives_up_and_its_process_lives_on(worker: Worker) -> None:
    pid, token = worker.view.pid, token_on_real_clock()
    errand = Errand(worker, servants.hold, token)
    errand.until_running()
    cancelled_at = time.monotonic()
    token.cancelled = True
    errand.until_ended()
    assert isinstance(errand.error, InterruptedError)
    assert errand.ended_at - cancelled_at < 0.5  # 0.1 s on a machine that has nothing else to do
    assert worker.run(servants.give_pid) == pid


def test_a_deadline_ends_a_task(worker: Worker) -> None:
    with pytest.raises(TimeoutError):
        worker.run(servants.hold, token_on_real_clock(0.2))


def test_a_failing_reader_of_reports_ends_the_task(worker: Worker) -> None:
    def refuse(report: object) -> None:
        raise LookupError(report)

    with pytest.raises(LookupError, match="running"):
        worker.run(servants.hold, None, refuse)
    assert worker.run(servants.give_pid) == worker.view.pid


def test_a_request_in_line_can_be_cancelled(worker: Worker) -> None:
    token = token_on_real_clock()
    first = Errand(worker, servants.hold, token)
    first.until_running()
    with pytest.raises(TimeoutError):
        worker.run(servants.give_pid, token_on_real_clock(0.1))
    assert first.error is None
    token.cancelled = True
    first.until_ended()


def test_a_cancellation_that_comes_before_its_task_is_not_lost(worker: Worker) -> None:
    pid = worker.view.pid
    for _ in range(20):
        token = CancelledOnceItRuns()
        with pytest.raises(InterruptedError):
            worker.run(servants.hold, token)
    assert worker.run(servants.give_pid) == pid


def test_a_stuck_task_is_killed_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "GIVE_UP_S", 0.1)
    with opened() as worker:
        token = token_on_real_clock()
        errand = Errand(worker, servants.stick, token)
        errand.until_running()
        pid = worker.view.pid
        token.cancelled = True
        errand.until_ended()
        assert isinstance(errand.error, InterruptedError)
        assert worker.run(servants.give_pid) != pid
        assert "did not stop within 0.1 s" in (worker.view.last_error or "")


# Death


def test_a_killed_process_fails_its_task_at_once_and_is_replaced() -> None:
    with opened() as worker:
        errand = Errand(worker, servants.stick)
        errand.until_running()
        pid, killed_at = worker.view.pid, time.monotonic()
        kill(worker)
        errand.until_ended()
        assert isinstance(errand.error, WorkerLost)
        assert errand.ended_at - killed_at < 1.0
        assert worker.run(servants.give_pid) != pid
        assert worker.view.restarts == 1


def test_a_process_killed_while_idle_is_replaced() -> None:
    with opened() as worker:
        assert worker.wait_up(PATIENCE_S)
        pid = worker.view.pid
        kill(worker)
        until(lambda: worker.view.pid != pid)
        assert worker.run(servants.give_pid) == worker.view.pid


def test_a_waiting_call_fails_with_its_process() -> None:
    with opened() as worker:
        assert worker.wait_up(PATIENCE_S)
        with ThreadPoolExecutor(1) as thread:
            call = thread.submit(worker.call, "hang", timeout_s=PATIENCE_S)
            until(lambda: worker.call("feel", mood="calm") == "hanging")
            killed_at = time.monotonic()
            kill(worker)
            assert isinstance(call.exception(), WorkerLost)
            assert time.monotonic() - killed_at < 1.0


def test_the_replacement_after_a_second_death_waits_for_its_back_off() -> None:
    clock = FakeClock()
    with opened(clock=clock) as worker:
        for _ in range(2):
            assert worker.wait_up(PATIENCE_S)
            restarts = worker.view.restarts
            kill(worker)
            until(lambda: worker.view.restarts > restarts or worker.view.state == "restarting")  # noqa: B023
        assert worker.view.state == "restarting"
        with pytest.raises(WorkerLost, match="is restarting") as caught:
            worker.run(servants.give_pid)
        assert caught.value.retryable
        clock.advance(1.0)
        assert worker.wait_up(PATIENCE_S)


def test_a_servant_that_cannot_be_built_breaks_the_worker_until_later() -> None:
    clock = FakeClock()
    with opened(servants.refuse, clock) as worker:

        def is_broken_in_the_end() -> bool:
            if worker.view.state == "restarting":
                clock.advance(1.0)
            return worker.view.state == "broken"

        until(is_broken_in_the_end)
        assert worker.view.restarts == 4
        assert worker.view.last_error == "RuntimeError: no such device"
        assert not worker.wait_up(PATIENCE_S)
        with pytest.raises(WorkerLost, match="is broken.*no such device"):
            worker.run(servants.give_pid)
        clock.advance(600.0)
        until(lambda: worker.view.restarts == 5 and worker.view.state == "broken")


def test_a_system_without_room_for_a_process_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, refusals = child_module.Child, [OSError("no room")]

    def start(name: str, build: bytes) -> child_module.Child:
        if refusals:
            raise refusals.pop()
        return real(name, build)

    monkeypatch.setattr(worker_module, "Child", start)
    with opened() as worker:
        assert worker.wait_up(PATIENCE_S)
        assert worker.view.last_error == "OSError: no room"


def test_a_process_without_a_heartbeat_is_killed() -> None:
    clock = FakeClock()
    with opened(clock=clock) as worker:
        errand = Errand(worker, servants.wedge)
        errand.until_running()
        clock.advance(worker_module.HEARTBEAT_LOST_S - 1.0)
        assert errand.error is None
        until(lambda: clock.advance(0.1) or errand.error is not None)  # type: ignore[func-returns-value]
        assert isinstance(errand.error, WorkerLost)
        assert "no heartbeat for" in str(errand.error)


def test_a_process_that_does_not_come_up_is_killed() -> None:
    clock = FakeClock()
    with opened(servants.hang_in_build, clock) as worker:
        until(lambda: worker.view.pid is not None)
        first = worker.view.pid
        clock.advance(worker_module.START_LOST_S + 1.0)
        until(lambda: worker.view.last_error == "not up within 300 s")
        until(lambda: worker.view.pid not in (None, first))


# Closing


def test_closing_waits_for_the_running_task_and_closes_the_servant(tmp_path: Path) -> None:
    with opened() as worker:
        assert worker.wait_up(PATIENCE_S)
        worker.call("leave_note", path=str(tmp_path / "note"))
        errand = Errand(worker, partial(_report_and_sleep, 0.3))
        errand.until_running()
        worker.close(PATIENCE_S)
        errand.until_ended()
        assert errand.answer == "slept"
        assert (tmp_path / "note").read_text() == "closed"
        assert worker.view.state == "closed"


def _report_and_sleep(seconds: float, control: Any) -> str:
    control.report("running")
    servants.sleep(seconds, control)
    return "slept"


def test_closing_kills_a_task_that_does_not_end_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with opened() as worker:
        errand = Errand(worker, servants.stick)
        errand.until_running()
        worker.close(0.05)
        errand.until_ended()
        assert isinstance(errand.error, WorkerLost)
    assert set(threading.enumerate()) <= before


def test_closing_refuses_those_in_line() -> None:
    with opened() as worker:
        first = Errand(worker, servants.stick)
        first.until_running()
        second = Errand(worker, servants.stick)
        worker.close(0.2)
        second.until_ended()
        assert isinstance(second.error, Draining)


def test_a_closed_worker_refuses_tasks() -> None:
    with opened() as worker:
        assert worker.wait_up(PATIENCE_S)
        worker.close(0.0)
        with pytest.raises(Draining):
            worker.run(servants.give_pid)


def test_closing_does_not_wait_for_a_servant_that_is_being_built() -> None:
    with opened(servants.hang_in_build) as worker:
        until(lambda: worker.view.pid is not None)
        started = time.monotonic()
        worker.close(PATIENCE_S)
        assert time.monotonic() - started < 2.0
        assert worker.view.state == "closed"


def test_closing_ends_a_back_off() -> None:
    with opened(servants.refuse, FakeClock()) as worker:
        until(lambda: worker.view.state == "restarting")
        started = time.monotonic()
        worker.close(PATIENCE_S)
        assert time.monotonic() - started < 2.0
