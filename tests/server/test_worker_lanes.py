"""Two real worker processes on the demo voice, behind the same services as one device."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gpu.errors import WorkerLost
from rvc_core.errors import Cancelled, InvalidOption
from rvc_core.options import ConversionOptions
from rvc_core.token import Token
from server.records import ConvertRequest, ConvertResult, LoadRequest
from server.services import Services, build_services
from server.settings import Settings
from tests.gpu.fakes import until
from tests.rvc_core.recordings import by_soundfile, sine

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def services(models_dir: Path) -> Iterator[Services]:
    settings = Settings(models_dir=models_dir, voice_devices=("cpu", "cpu"), torch_threads=1)
    services = build_services(settings)
    services.warm_up()
    assert services.ready().ready
    yield services
    services.drain(0)
    services.close()


def recording(seconds: float) -> bytes:
    return by_soundfile(sine(seconds, 16_000), 16_000, "WAV")


def request(seconds: float = 0.5, **options: Any) -> ConvertRequest:
    return ConvertRequest(recording(seconds), "demo", ConversionOptions(**options), "test")


def pids(services: Services) -> dict[int, int]:
    """Process by lane, of those that are up."""
    devices = [d for d in services.gpu_status()["devices"] if "worker" in d]
    return {d["index"]: d["worker"]["pid"] for d in devices if d["worker"]["state"] == "up"}


def running(services: Services) -> list[int]:
    """Lanes that convert now."""
    return [d["index"] for d in services.gpu_status()["devices"] if d["queue"]["running"]]


def test_a_worker_gives_what_this_process_gives(services: Services, models_dir: Path) -> None:
    alone = build_services(Settings(models_dir=models_dir, device="cpu", torch_threads=1))
    try:
        here = alone.convert(request(f0_method="swift"), Token())
    finally:
        alone.close()
    there = services.convert(request(f0_method="swift"), Token())
    assert there.audio.samples.tobytes() == here.audio.samples.tobytes()
    assert there.voice == "demo"
    assert there.timings["synth"] > 0


def test_progress_and_errors_come_back_as_they_are(services: Services) -> None:
    stages: list[str] = []
    services.convert(request(), Token(), lambda progress: stages.append(progress.stage))
    assert {"f0", "synth"} <= set(stages)
    with pytest.raises(InvalidOption, match="spk_id is 99") as caught:
        services.convert(request(speaker_id=99), Token())
    assert (caught.value.param, caught.value.value) == ("spk_id", 99)


def test_two_requests_for_one_voice_use_both_devices(services: Services) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: services.convert(request(2.0), Token()), range(4)))
    assert len({result.audio.samples.tobytes() for result in done}) == 1
    states = [d["models"] for d in services.gpu_status()["devices"] if "worker" in d]
    until(lambda: all(_demo_state(d) == "ready" for d in services.gpu_status()["devices"][:2]))
    assert len(states) == 2
    (voice,) = services.voices()
    assert (voice.state, voice.device) == ("ready", "cpu")


def _demo_state(device: dict[str, Any]) -> str | None:
    found = [m["state"] for m in device["models"] if m["id"].startswith("voice:demo@")]
    return found[0] if found else None


def test_a_cancelled_conversion_ends_and_leaves_its_device_free(services: Services) -> None:
    token, begun = Token(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(services.convert, request(60.0), token, lambda progress: begun.set())
        assert begun.wait(PATIENCE_S)
        token.cancel()
        with pytest.raises(Cancelled):
            running.result(PATIENCE_S)
    assert all(d["queue"]["running"] == 0 for d in services.gpu_status()["devices"])
    assert services.convert(request(), Token()).voice == "demo"


def test_killing_a_worker_fails_its_own_request_only(services: Services) -> None:
    """The request fails within a second, the other one ends, a replacement serves in ten."""
    begun = [threading.Event(), threading.Event()]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(services.convert, request(20.0), Token(), lambda p: begun[0].set())
        assert begun[0].wait(PATIENCE_S)
        (lane,) = running(services)
        second = pool.submit(services.convert, request(20.0), Token(), lambda p: begun[1].set())
        assert begun[1].wait(PATIENCE_S)
        victim = pids(services)[lane]
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(WorkerLost) as caught:
            first.result(PATIENCE_S)
        assert time.monotonic() - killed < 1.0
        assert caught.value.retryable
        until(lambda: pids(services).get(lane, victim) != victim)
        assert time.monotonic() - killed < 10.0
        other: ConvertResult = second.result(PATIENCE_S)
    assert other.audio.duration_s == pytest.approx(20.0)
    assert services.ready().ready
    with ThreadPoolExecutor(2) as pool:  # both devices serve again
        done = list(pool.map(lambda n: services.convert(request(), Token()), range(2)))
    assert len(done) == 2


def test_voices_are_pinned_offloaded_and_released_on_every_device(services: Services) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: services.convert(request(2.0), Token()), range(2)))
    services.set_pinned("demo", True)
    assert services.voices()[0].pinned
    kept = services.release()
    assert {(s["model"].split("@")[0], s["reason"]) for s in kept["skipped"]} == {
        ("voice:demo", "pinned")
    }
    services.set_pinned("demo", False)
    assert services.offload("demo")["offloaded"]
    assert services.convert(request(), Token()).state_at_arrival == "offloaded"
    assert services.release("demo")["freed_bytes"] > 0
    assert services.convert(request(), Token()).state_at_arrival == "unloaded"


def state_of(services: Services) -> str:
    return next(voice.state for voice in services.voices() if voice.id == "demo")


def test_a_voice_is_loaded_into_a_worker_before_it_is_asked_for(services: Services) -> None:
    services.release("demo")
    loaded = services.load(LoadRequest("demo", "test"), Token())
    assert (loaded.state, loaded.device, loaded.state_at_arrival) == ("ready", "cpu", "unloaded")
    assert loaded.bytes > 10_000_000
    assert loaded.seconds > 0
    until(lambda: state_of(services) == "ready")  # its process tells of it a moment later
    assert services.load(LoadRequest("demo", "test", to_host=True), Token()).state == "offloaded"
    until(lambda: state_of(services) == "offloaded")
    assert services.convert(request(), Token()).state_at_arrival == "offloaded"
    services.unload("demo")
    assert services.convert(request(), Token()).state_at_arrival == "unloaded"
