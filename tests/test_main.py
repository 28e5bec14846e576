"""The server as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from main import Stop, exposure_notes, main, watch
from server.settings import Settings
from server.sockets import bind, port_of
from tests.rvc_core.recordings import by_soundfile, sine
from tests.server.fakes import fake_services

ROOT = Path(__file__).parents[1]
PATIENCE_S = 90.0
RECORDING = by_soundfile(sine(1.0, 16_000, 150.0), 16_000, "WAV")


@dataclass
class Process:
    popen: subprocess.Popen[str]
    api: str
    ui: str
    log: Path

    def wait_for(self, path: str) -> None:
        """Wait until the API answers `path` with 200."""
        self.wait_until(path, lambda body: True, statuses=(200,))

    def wait_until(
        self, path: str, is_so: Callable[[Any], bool], statuses: tuple[int, ...] = (200, 503)
    ) -> None:
        """Wait until the API answers `path` with a body that satisfies `is_so`."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and self.popen.poll() is None:
            try:
                answer = requests.get(self.api + path, timeout=PATIENCE_S)
                if answer.status_code in statuses and is_so(answer.json()):
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"{path} never came: {self.log.read_text()}")

    def wait_for_lines(self, *wanted: str) -> None:
        """Read standard output until all lines have come."""
        assert self.popen.stdout is not None
        assert [self.popen.stdout.readline() for _ in wanted] == [f"{w}\n" for w in wanted]


@contextmanager
def running(arguments: list[str], models: Path, folder: Path) -> Iterator[Process]:
    """A server process on free ports; killed at the end if it still runs."""
    with bind("127.0.0.1", 0, "") as first, bind("127.0.0.1", 0, "") as second:
        api, ui = port_of(first), port_of(second)
    log = folder / "log"
    environment = {**os.environ, "API_PORT": str(api), "UI_PORT": str(ui), "DEVICE": "cpu"}
    environment |= {"MODELS_DIR": str(models), "OUTPUTS_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    with log.open("w") as stderr:
        popen = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        yield Process(popen, f"http://127.0.0.1:{api}", f"http://127.0.0.1:{ui}", log)
    finally:
        popen.kill()
        popen.communicate()


def post(url: str, recording: bytes = RECORDING) -> requests.Response | None:
    """The answer of a conversion; None if the server went away."""
    try:
        files = {"audio": recording}
        return requests.post(f"{url}/api/v1/convert", files=files, timeout=PATIENCE_S)
    except requests.ConnectionError:
        return None


def status_of(answer: requests.Response | None) -> int:
    return 0 if answer is None else answer.status_code


@pytest.mark.slow
def test_a_whole_life(models_dir: Path, tmp_path: Path) -> None:
    """Start, convert, and a signal in the middle of a request, which is still answered."""
    with running(["main.py"], models_dir, tmp_path) as server:
        server.wait_for("/health")
        server.wait_for("/ready")
        server.wait_for_lines(f"UI  {server.ui}", f"API {server.api}")
        assert requests.get(server.ui, timeout=PATIENCE_S).status_code == 200
        assert status_of(post(server.api)) == 200
        last: list[requests.Response | None] = []
        client = threading.Thread(target=lambda: last.append(post(server.api)))
        client.start()
        server.wait_until("/info", lambda body: True)
        time.sleep(0.1)  # for the request to be under way; it takes a second
        server.popen.send_signal(signal.SIGTERM)
        client.join(PATIENCE_S)
        assert server.popen.wait(PATIENCE_S) == 0
        assert status_of(last[0]) == 200
    log = server.log.read_text()
    assert "Traceback" not in log
    assert [line for line in log.splitlines() if " INFO " not in line] == []
    assert log.count("POST /api/v1/convert 200") == 2


def test_a_signal_while_models_still_load_ends_it_cleanly(models_dir: Path, tmp_path: Path) -> None:
    with running(["-m", "tests.server.plain_ui"], models_dir, tmp_path) as server:
        server.wait_for("/health")
        assert requests.get(f"{server.api}/ready", timeout=5).status_code == 503
        server.popen.send_signal(signal.SIGINT)
        assert server.popen.wait(PATIENCE_S) == 0
    assert "ERROR" not in server.log.read_text()


def test_without_models_it_runs_and_says_what_is_missing(tmp_path: Path) -> None:
    with running(["-m", "tests.server.plain_ui"], tmp_path / "none", tmp_path) as server:
        server.wait_for_lines(f"UI  {server.ui}", f"API {server.api}")
        ready = requests.get(f"{server.api}/ready", timeout=5)
        assert ready.status_code == 503
        assert "No content encoder is in" in ready.json()["reasons"][0]
        answer = post(server.api)
        assert answer is not None
        error = answer.json()["error"]
        assert (error["code"], error["message"]) == (
            "voice_required",
            "Name a voice; none is installed.",
        )


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(models_dir: Path, tmp_path: Path) -> None:
    with running(["-m", "tests.server.plain_ui"], models_dir, tmp_path) as server:
        server.wait_for("/ready")
        long = by_soundfile(sine(120, 16_000, 150.0), 16_000, "WAV")
        client = threading.Thread(target=lambda: post(server.api, long))
        client.start()
        server.wait_until("/api/v1/models", lambda body: body["models"][0]["state"] == "ready")
        server.popen.send_signal(signal.SIGTERM)
        server.wait_until("/ready", lambda body: "The server is shutting down." in body["reasons"])
        server.popen.send_signal(signal.SIGTERM)
        assert server.popen.wait(PATIENCE_S) == 1
        client.join(PATIENCE_S)


def test_a_wrong_setting_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_PORT", "x")
    assert main([]) == 2
    assert (
        capsys.readouterr().err == "API_PORT is 'x'; it must be a whole number from 0 to 65535.\n"
    )


def test_a_port_in_use_is_one_line_and_exit_code_1(models_dir: Path, tmp_path: Path) -> None:
    with bind("127.0.0.1", 0, "") as taken:
        taken.listen()
        port = str(port_of(taken))
        done = subprocess.run(
            [sys.executable, "main.py", "--api-port", port, "--outputs-dir", str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"API_PORT {port} on 127.0.0.1 cannot be used")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        (Settings(), None),
        (Settings(bind_host="0.0.0.0"), "ANYBODY who reaches 0.0.0.0 can use this server"),
        (Settings(bind_host="0.0.0.0", api_key="k"), "API_KEY guards the API only"),
    ],
)
def test_a_server_that_others_reach_warns(settings: Settings, note: str | None) -> None:
    notes = exposure_notes(settings)
    assert (notes == []) if note is None else notes[0].startswith(note)


@dataclass
class FakeServer:
    is_alive: bool


@pytest.mark.parametrize(("api", "ui"), [(False, True), (True, False)])
def test_a_server_thread_that_died_ends_the_process(
    api: bool, ui: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    services: Any = fake_services(tmp_path)
    first: Any = FakeServer(api)
    second: Any = FakeServer(ui)
    assert watch(Stop(), services, first, second, "") is True
    assert "server has died" in caplog.text


def test_a_signal_is_no_failure(tmp_path: Path) -> None:
    server: Any = FakeServer(True)
    assert watch(Stop(requested=True), fake_services(tmp_path), server, server, "") is False
