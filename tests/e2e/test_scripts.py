"""The end-to-end programs, run as people run them, against servers on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from demo_voice.build import VOICE_PATH
from server.services import Services
from tests.e2e.client import Answer, Client, Job, Unusable, hum
from tests.e2e_cache_abc_test import judge
from tests.e2e_concurrency_test import (
    Span,
    Trial,
    crowded_s,
    judge_bytes,
    judge_different,
    judge_same,
)
from tests.server.live import live_services, running, serving

TESTS = Path(__file__).parents[1]
CACHE, CONCURRENCY = "e2e_cache_abc_test.py", "e2e_concurrency_test.py"
UNSET = dict.fromkeys(("MODELS", "AUDIO", "REPEATS", "CONCURRENCY", "API_KEY"), "")
VOICES = ("a", "b", "c")
KEY = "open-sesame"
# Timers must not move models in between, however slow the machine is.
STILL = {"gpu_offload_after": -1.0, "gpu_idle_timeout": -1.0}


def run(script: str, host: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, **UNSET, "NO_PROXY": "127.0.0.1", "HOST": host, **environment}
    command = [sys.executable, str(TESTS / script)]
    return subprocess.run(
        command, env=given, capture_output=True, text=True, timeout=100, cwd="/", check=False
    )


@pytest.fixture(scope="module")
def models(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo voice three times, as a, b and c."""
    folder = tmp_path_factory.mktemp("e2e") / "models"
    shutil.copytree(models_dir, folder)
    demo = folder / VOICE_PATH
    for name in VOICES:
        shutil.copyfile(demo, demo.with_stem(name))
    demo.unlink()
    return folder


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recording whose conversion takes little."""
    return write(tmp_path_factory.mktemp("audio") / "short.wav", 0.3)


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recording whose conversion takes so long that two started together overlap."""
    return write(tmp_path_factory.mktemp("audio") / "longer.wav", 1.5)


def write(path: Path, seconds: float) -> str:
    path.write_bytes(hum(seconds))
    return str(path)


@contextmanager
def warm(services: Services) -> Iterator[str]:
    services.warm_up()
    with running(services) as url:
        yield url


@pytest.fixture(scope="module")
def roomy(models: Path) -> Iterator[tuple[Services, str]]:
    """A server that holds all voices, and its address."""
    services = live_services(models, **STILL)
    with warm(services) as url:
        yield services, url


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; torch finds none")
    return str(request.param)


def room_for_two(services: Services) -> int:
    """The bytes of all shared models and of two and a half voices, which are equal; one is used."""
    listed = services.gpu_status()["devices"][0]["models"]
    sizes: dict[str, int] = {model["id"]: model["bytes"] for model in listed}
    voices = [size for name, size in sizes.items() if name.startswith("voice:")]
    return sum(sizes.values()) - sum(voices) + max(voices) * 5 // 2


def column(output: str, head: str) -> list[str]:
    """The cells under a head of the first table, whose cells hold no blanks."""
    lines = output.splitlines()
    top = next(n for n, line in enumerate(lines) if head in line)
    begin, rows = lines[top].index(head), lines[top + 1 :]
    return [row[begin:].split()[0] for row in rows[: rows.index("")]]


def test_with_room_for_two_voices_it_shows_cold_hot_and_restored_times(
    models: Path, roomy: tuple[Services, str], short: str, device: str
) -> None:
    services, url = roomy
    Client(url).convert(Job("a"), hum(0.3))  # the size of what was used is known
    budget = str(room_for_two(services))
    with warm(live_services(models, device=device, gpu_vram_budget=budget, **STILL)) as url:
        done = run(CACHE, url, REPEATS="1", AUDIO=short)
    assert column(done.stdout, "that is") == ["cold", "hot"] * 3 + ["restored", "hot"] * 3
    assert "PASS: by median load time, restored is " in done.stdout
    assert done.returncode == 0


def test_with_room_for_all_voices_it_says_how_to_show_restored_ones(
    roomy: tuple[Services, str], short: str
) -> None:
    services, url = roomy
    for voice in VOICES:
        services.release(voice)
    done = run(CACHE, url, REPEATS="1", AUDIO=short)
    assert column(done.stdout, "that is") == ["cold", "hot"] * 3 + ["hot", "hot"] * 3
    assert "Set GPU_VRAM_BUDGET" in done.stdout
    assert "PASS: by median load time, hot is " in done.stdout
    assert done.returncode == 0


def test_a_restore_that_takes_a_quarter_of_a_load_fails() -> None:
    assert judge({"cold": 50.0, "hot": 0.0, "restored": 10.0})
    assert not judge({"cold": 40.0, "hot": 0.0, "restored": 10.0})


def test_times_below_the_resolution_count_as_that() -> None:
    assert not judge({"cold": 0.4, "restored": 0.0})


@pytest.mark.parametrize("load_ms", [{"hot": 0.0, "restored": 1.0}, {"cold": 100.0}])
def test_without_a_cold_or_a_kept_voice_nothing_is_judged(load_ms: dict[str, float]) -> None:
    with pytest.raises(Unusable):
        judge(load_ms)


def test_one_voice_is_served_serially_and_several_in_parallel(
    roomy: tuple[Services, str], longer: str
) -> None:
    done = run(CONCURRENCY, roomy[1], AUDIO=longer)
    verdicts = [line.partition(":")[0] for line in done.stdout.splitlines()[-3:]]
    assert verdicts == ["PASS", "PASS", "PASS"]
    assert done.returncode == 0


def test_a_server_that_runs_a_voice_twice_at_once_fails(models: Path, longer: str) -> None:
    with warm(live_services(models, voice_concurrency=2, **STILL)) as url:
        done = run(CONCURRENCY, url, CONCURRENCY="2", MODELS="a,b", AUDIO=longer)
    assert "FAIL: same voice" in done.stdout
    assert done.stdout.count("PASS") == 2
    assert done.returncode == 1


def trial(*spans: Span, audio: bytes = b"same") -> Trial:
    """Requests that ran from and to those seconds and came back as `audio`; "same" when alone."""

    def answers(audio: bytes) -> list[Answer]:
        return [
            Answer(
                job=Job("a"),
                state="ready",
                device="cpu",
                timings={"feature": 0.0, "f0": 0.0, "synth": (to - since) * 1000, "encode": 0.0},
                audio=audio,
                wall_ms=0.0,
                ended=to,
            )
            for since, to in spans
        ]

    return Trial(answers(b"same"), answers(audio))


def test_a_span_excludes_encoding() -> None:
    stages = {"feature": 100.0, "f0": 200.0, "synth": 300.0, "encode": 50.0, "queue": 999.0}
    answer = Answer(Job("a"), "ready", "cpu", stages, b"", 1000.0, 10.0)
    assert answer.span == pytest.approx((9.35, 9.95))


def test_crowds_are_timed() -> None:
    spans = [(0.0, 4.0), (1.0, 3.0), (2.0, 6.0), (6.0, 7.0)]
    assert crowded_s(spans, 1) == pytest.approx(3.0)
    assert crowded_s(spans, 2) == pytest.approx(1.0)


def test_runs_of_one_voice_may_touch_but_not_overlap() -> None:
    assert judge_same(trial((0, 1), (0.95, 2)), n_devices=1)
    assert not judge_same(trial((0, 1), (0.8, 2)), n_devices=1)


def test_two_devices_may_run_one_voice_twice_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge_same(trial((0, 1), (0, 1)), n_devices=2)
    assert "The server has 2 devices" in capsys.readouterr().out
    assert not judge_same(trial((0, 1), (0, 1), (0, 1)), n_devices=2)


def test_different_voices_must_run_side_by_side_for_half_of_the_time() -> None:
    assert judge_different(trial((0, 1), (0.4, 2)))
    assert not judge_different(trial((0, 1), (0.6, 2)))


def test_other_bytes_than_alone_fail() -> None:
    assert judge_bytes([trial((0, 1))])
    assert not judge_bytes([trial((0, 1)), trial((0, 1), audio=b"other")])


def check_not_shown(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("script", [CACHE, CONCURRENCY])
def test_without_a_server_it_says_so_in_a_line(script: str) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        check_not_shown(run(script, host), f"No voice server answers at {host}: ")


@pytest.fixture(scope="module")
def one_voice(models_dir: Path) -> Iterator[str]:
    """The address of a server with one voice and a key."""
    with serving(models_dir, api_key=KEY) as url:
        yield url


@pytest.mark.parametrize(("script", "needed"), [(CACHE, 3), (CONCURRENCY, 2)])
def test_a_server_with_one_voice_is_not_enough(script: str, needed: int, one_voice: str) -> None:
    done = run(script, one_voice, API_KEY=KEY)
    check_not_shown(done, f"This needs {needed} different voices, but there are: demo.")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "answers 401: unauthorized"),
        ({"API_KEY": KEY, "MODELS": "demo,nobody"}, "There is no voice 'nobody'; there are demo."),
        ({"API_KEY": KEY, "REPEATS": "0"}, "REPEATS must be a whole number of at least 1, not '0'"),
        ({"API_KEY": KEY, "REPEATS": "two"}, "REPEATS must be a whole number"),
        ({"HOST": "localhost"}, "HOST must begin with http"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_line(
    environment: dict[str, str], message: str, one_voice: str
) -> None:
    check_not_shown(run(CACHE, **{"host": one_voice, **environment}), message)
