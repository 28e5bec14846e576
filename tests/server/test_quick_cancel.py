"""A client that goes away frees the device at once, on a real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests

from engines.rvc import LoadableModel
from server.services import Services
from tests.gpu.fakes import until
from tests.rvc_core.recordings import by_soundfile, sine
from tests.server.fakes import FakeModel, engine_of, fake_services
from tests.server.live import live_services, running

SOON_S = 1.0  # twice what is promised: the machine of the tests does other things too


@contextmanager
def asking(url: str, recording: bytes) -> Iterator[None]:
    """A request was sent; at the end of the block its client goes away."""
    files = {"audio": ("a.wav", recording)}
    prepared = requests.Request("POST", f"{url}/api/v1/convert", files=files).prepare()
    body = prepared.body
    assert isinstance(body, bytes)
    lines = ["POST /api/v1/convert HTTP/1.1", "Host: test"]
    lines += [f"{name}: {prepared.headers[name]!s}" for name in ("Content-Type", "Content-Length")]
    address = urlsplit(url)
    with socket.create_connection((str(address.hostname), int(address.port or 0))) as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        yield


def sample(services: Services, name: str, **labels: str) -> float:
    return services.metrics.registry.get_sample_value(name, labels) or 0.0


def cancelled(services: Services, stage: str) -> float:
    return sample(services, "voice_cancelled_total", stage=stage)


def running_now(services: Services) -> int:
    return sum(device["queue"]["running"] for device in services.gpu_status()["devices"])


def in_use(services: Services) -> int:
    """Leases that are held."""
    devices = services.gpu_status()["devices"]
    return sum(model["leases"] for device in devices for model in device["models"])


def test_work_stops_within_half_a_second_in_line_and_at_work(models_dir: Path) -> None:
    services = live_services(models_dir, concurrent_conversions=1)
    minute = by_soundfile(sine(60.0, 16_000, 150.0), 16_000, "WAV")
    with running(services) as url:
        services.warm_up()
        with asking(url, minute):
            until(lambda: in_use(services) == 3)  # content encoder, F0 and voice: it works
            with asking(url, minute):
                until(lambda: len(services.gpu_status()["waiting"]) == 1)
            until(lambda: cancelled(services, "queue") == 1)
            assert running_now(services) == 1
        until(lambda: cancelled(services, "run") + cancelled(services, "load") == 1)
        assert (running_now(services), in_use(services)) == (0, 0)
        assert sample(services, "voice_cancel_seconds_sum") <= 2 * SOON_S


def test_who_waits_for_a_load_leaves_while_it_goes_on(fake_models: Path, recording: bytes) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def load(device: str) -> FakeModel:
        begun.set()
        assert go_on.wait(10)
        return FakeModel("voice")

    services = fake_services(fake_models)
    engine_of(services).voice = (  # type: ignore[method-assign]
        lambda name, content_hash, path: LoadableModel(f"voice:{name}", load)
    )
    with running(services) as url:
        with asking(url, recording):
            assert begun.wait(10)
        until(lambda: cancelled(services, "load") == 1)
        assert not go_on.is_set()
        assert running_now(services) == 0
        assert sample(services, "voice_cancel_seconds_sum") <= SOON_S
        go_on.set()
