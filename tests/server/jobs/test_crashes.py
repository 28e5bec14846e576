"""A server is killed in the middle of a job: the next one loses nothing and does nothing twice."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import soundfile

from tests.server.fakes import fake_services
from tests.server.jobs.doomed import count_conversions
from tests.server.live import running

ROOT = Path(__file__).parents[3]
PATIENCE_S = 30.0


@dataclass
class Doomed:
    """Starts servers that stop at a point and are killed there."""

    process: subprocess.Popen[str]

    @contextmanager
    def server(self, models: Path, point: str) -> Iterator[str]:
        """The address of a server, which is killed in the end."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{models}\t{point}\n")
        self.process.stdin.flush()
        pid, url = self.line().split()
        try:
            yield url
        finally:
            os.kill(int(pid), signal.SIGKILL)
            while self.line() != "dead":
                pass

    def line(self) -> str:
        """What the server says next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it has ended"
        return line.rstrip("\n")

    def kill_at(self, point: str, models: Path, recording: bytes, kind: str) -> dict[str, Any]:
        """The job of a server that was killed with signal 9 at the point of that job's life."""
        name = "audio" if kind == "convert" else "files[]"
        files = [(name, (f"{n}.wav", recording)) for n in range(1 if kind == "convert" else 3)]
        with self.server(models, point) as url:
            answer = requests.post(
                f"{url}/api/v1/jobs", data={"type": kind}, files=files, timeout=PATIENCE_S
            )
            assert answer.status_code == 202, answer.text
            assert self.line() == "here"
        job: dict[str, Any] = answer.json()
        return job


@pytest.fixture(scope="module")
def doomed() -> Iterator[Doomed]:
    command = [sys.executable, "-m", "tests.server.jobs.doomed"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Doomed(process)
        process.communicate(timeout=PATIENCE_S)


@contextmanager
def next_server(models: Path) -> Iterator[str]:
    """The address of a server that takes over."""
    services = fake_services(models)
    count_conversions(services, models / "log")
    with running(services) as url:
        services.warm_up()
        yield url


def n_converted(models: Path) -> int:
    log = models / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.parametrize("point", ["queued", "running", "written", "committed"])
def test_a_conversion_survives_a_kill(
    doomed: Doomed, fake_models: Path, recording: bytes, point: str
) -> None:
    job = doomed.kill_at(point, fake_models, recording, "convert")
    with next_server(fake_models) as url:
        address = url + job["links"]["self"]
        ended = requests.get(address, params={"wait": "30"}, timeout=PATIENCE_S + 5).json()
        result = requests.get(f"{address}/result", timeout=PATIENCE_S)
        listed = requests.get(f"{url}/api/v1/jobs", timeout=PATIENCE_S).json()["jobs"]
    assert (ended["state"], [one["id"] for one in listed]) == ("succeeded", [job["id"]])
    assert n_converted(fake_models) == 1
    assert len(soundfile.read(io.BytesIO(result.content))[0]) == 1600
    kept = {path.name for path in (fake_models / "jobs.files").rglob("*")}
    assert kept == {"staging", job["id"], f"audio-0-{1 if point != 'running' else 2}"}


def test_a_batch_goes_on_where_it_was_killed(
    doomed: Doomed, fake_models: Path, recording: bytes
) -> None:
    job = doomed.kill_at("second item", fake_models, recording, "batch")
    with next_server(fake_models) as url:
        address = url + job["links"]["self"]
        ended = requests.get(address, params={"wait": "30"}, timeout=PATIENCE_S + 5).json()
        result = requests.get(f"{address}/result", timeout=PATIENCE_S)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 2)
    assert n_converted(fake_models) == 3
    with zipfile.ZipFile(io.BytesIO(result.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "0.wav", "1.wav", "2.wav"]


def test_a_living_server_keeps_its_jobs_when_another_one_starts(
    doomed: Doomed, fake_models: Path, recording: bytes
) -> None:
    with doomed.server(fake_models, "running") as url:
        answer = requests.post(
            f"{url}/api/v1/jobs",
            data={"type": "convert"},
            files={"audio": ("x.wav", recording)},
            timeout=PATIENCE_S,
        )
        assert doomed.line() == "here"
        services = fake_services(fake_models)
        services.jobs.start()
        services.jobs.keep_house()
        job = services.jobs.get(answer.json()["id"], None)
        services.close()
    assert (job.state.value, job.attempt) == ("running", 1)
    assert n_converted(fake_models) == 0
