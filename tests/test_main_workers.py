"""The server as several processes."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.gpu.fakes import until
from tests.test_main import PATIENCE_S, Process, post, running, status_of

WORKERS = ["main.py", "--voice-devices", "cpu,cpu"]


def children(server: Process) -> list[int]:
    """Processes that the server started and that still run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"\nPPid:\t{server.popen.pid}\n" in text and not re.search(r"State:\sZ", text):
            found.append(int(status.parent.name))
    return found


def is_running(pid: int) -> bool:
    """Whether the process exists and is no mere entry of a dead one."""
    try:
        return re.search(r"State:\s[ZX]", Path(f"/proc/{pid}/status").read_text()) is None
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_workers_serve_and_end_with_the_server(models_dir: Path, tmp_path: Path) -> None:
    with running(WORKERS, models_dir, tmp_path) as server:
        server.wait_for("/ready")
        assert status_of(post(server.api)) == 200
        started = children(server)
        assert len(started) >= 2
        for pid in [server.popen.pid, *started]:  # as a service manager does to a whole group
            os.kill(pid, signal.SIGTERM)
        assert server.popen.wait(PATIENCE_S) == 0
    until(lambda: not any(is_running(pid) for pid in started))
    log = server.log.read_text()
    assert [line for line in log.splitlines() if " INFO " not in line] == []


@pytest.mark.slow
def test_workers_do_not_outlive_a_server_that_was_killed(models_dir: Path, tmp_path: Path) -> None:
    with running(WORKERS, models_dir, tmp_path) as server:
        server.wait_for("/ready")
        started = children(server)
        server.popen.kill()
        server.popen.wait(PATIENCE_S)
    until(lambda: not any(is_running(pid) for pid in started))
