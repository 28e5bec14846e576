"""What the process of a worker does by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu.worker import Worker, nothing
from gpu.worker_process import TaskControl
from tests.gpu import servants
from tests.gpu.errands import (
    PATIENCE_S,
    opened,
)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One worker for all tests that leave it as it was."""
    with opened() as worker:
        assert worker.wait_up(PATIENCE_S)
        yield worker


def test_a_callback_is_called_once_even_if_it_comes_late() -> None:
    calls: list[str] = []
    control = TaskControl(None, nothing)
    control.on_cancel(lambda: calls.append("early"))
    assert calls == []
    control.cancel()
    control.cancel()
    assert calls == ["early"]
    control.on_cancel(lambda: calls.append("late"))
    assert calls == ["early", "late"]


def test_an_interrupt_from_the_keyboard_leaves_the_process_alone(worker: Worker) -> None:
    pid = worker.view.pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    assert worker.run(servants.give_pid) == pid


# Parents

ROOT = Path(__file__).parents[2]
PARENT = """
import sys, threading
from gpu.worker import Worker
from tests.gpu import servants
worker = Worker(0, servants.FakeServant)
worker.start()
threading.Thread(target=worker.run, args=(servants.stick, None, print), daemon=True).start()
threading.Event().wait()
"""

UNGUARDED = """
print("imported as", __name__, flush=True)
from gpu.worker import Worker
from tests.gpu import servants
worker = Worker(0, servants.FakeServant)
worker.start()
print(worker.run(servants.give_main), __file__ is not None)
"""


def python(*arguments: str) -> subprocess.Popen[str]:
    """Start an interpreter that finds our packages."""
    code = ROOT.as_posix()
    return subprocess.Popen(
        [sys.executable, "-u", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": code},
    )


def test_an_orphan_ends_itself_in_the_midst_of_a_task() -> None:
    with python("-c", PARENT) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "running\n"
        parent.kill()
        # The worker's process has the same standard output: it ends with the last of them.
        assert parent.communicate(timeout=PATIENCE_S)[0] == ""


def test_the_process_does_not_import_the_main_module(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(UNGUARDED)
    with python(str(script)) as parent:
        output, _ = parent.communicate(timeout=PATIENCE_S)
    assert output == "imported as __main__\nNone True\n"
    assert parent.returncode == 0
