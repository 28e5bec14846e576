"""The programs that need one voice only, run as people run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import hum
from tests.server.live import live_services, running

ROOT = Path(__file__).parents[2]
SMOKE, LOOP, SHELL = "tests/run_smoke_test.py", "tests/e2e_convert_test.py", "tests/e2e_convert.sh"
CROWD = "concurrent_test.py"
PROGRAMS = (SMOKE, LOOP, SHELL, CROWD)
NAMES = ("MODEL", "MODELS", "AUDIO", "LOOPS", "REQUESTS", "CONCURRENCY", "SECONDS", "API_KEY")
KEY = "open-sesame"


def run(program: str, host: str, **environment: str) -> subprocess.CompletedProcess[str]:
    if program == SHELL and not (shutil.which("curl") and shutil.which("bash")):
        pytest.skip("needs bash and curl")
    unset = dict.fromkeys(NAMES, "")
    given = {**os.environ, **unset, "NO_PROXY": "127.0.0.1", "HOST": host, **environment}
    start = ["bash"] if program == SHELL else [sys.executable]
    return subprocess.run(
        [*start, str(ROOT / program)],
        env=given,
        capture_output=True,
        text=True,
        timeout=100,
        cwd="/",
        check=False,
    )


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("audio") / "short.wav"
    path.write_bytes(hum(0.3))
    return str(path)


@pytest.fixture(scope="module")
def url(models_dir: Path) -> Iterator[str]:
    """A server with the demo voice, which asks for a key."""
    services = live_services(models_dir, api_key=KEY)
    services.warm_up()
    with running(services) as address:
        yield address


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("voice", ["", "demo.pth"])
def test_it_passes(program: str, voice: str, url: str, short: str) -> None:
    few = {"LOOPS": "2", "REQUESTS": "4", "CONCURRENCY": "2", "SECONDS": "0"}
    done = run(program, url, MODEL=voice, AUDIO=short, API_KEY=KEY, **few)
    assert "PASS" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_wrong_key_is_told(program: str, url: str, short: str) -> None:
    done = run(program, url, AUDIO=short, API_KEY="wrong", LOOPS="1")
    assert "unauthorized" in done.stdout + done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_a_server_nothing_is_shown(program: str, short: str) -> None:
    done = run(program, "http://127.0.0.1:9", AUDIO=short)
    assert "No voice server answers at http://127.0.0.1:9" in done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_recording_that_is_not_there_is_told(program: str, url: str) -> None:
    done = run(program, url, AUDIO="/none.wav", API_KEY=KEY)
    assert "AUDIO cannot be read" in done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("program", [SMOKE, SHELL])
def test_a_sound_is_made_where_no_recording_is_given(program: str, url: str) -> None:
    assert run(program, url, API_KEY=KEY, LOOPS="1").returncode == 0


def test_callers_keep_asking_for_the_time_given(url: str, short: str) -> None:
    few = {"REQUESTS": "2", "CONCURRENCY": "4", "SECONDS": "1"}
    done = run(CROWD, url, AUDIO=short, API_KEY=KEY, **few)
    assert "1 s with 4 callers: " in done.stdout
    assert "p99" in done.stdout
