"""Metrics of several devices, whose processes tell what the test wants and die when it wants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpu.worker import WorkerView
from gpu_manager import GPUResourceManager
from rvc_core.errors import Cancelled, DeadlineExceeded
from rvc_core.token import Token
from server.conversion import DeviceConverter
from server.gpu_metrics import Tally, model_label
from server.lanes import LocalLane, WorkerLane
from server.leases import Leases
from server.services import Services
from server.settings import Settings
from tests.gpu.fakes import in_thread, until
from tests.server.calls import request_for
from tests.server.fakes import FakeEngine
from tests.server.scrapes import below, scrape

PATIENCE_S = 10.0
GPU = {
    "total_bytes": 80,
    "driver_free_bytes": 50,
    "external_bytes": 5,
    "budget_bytes": 70,
    "ledger_bytes": 25,
    "pressure": "hard",
    "copy": {"h2d_gbps": 12.5},
    "heartbeat_age_s": 0.5,
}


class FakeWorker:
    """A worker that is nothing but a view."""

    def __init__(self) -> None:
        self.view = WorkerView(0, None, "starting", 0, None, None, None)

    def beat(self, **told: Any) -> None:
        """Its process lives and tells this of its device."""
        device = {**self._honest_device(), **told}
        self.view = replace(
            self.view, state="up", heartbeat_age_s=0.2, status={"device": device, "voices": {}}
        )

    def count(self, **totals: int) -> None:
        """Its process has counted that much."""
        self.beat(totals={**self._honest_device()["totals"], **totals})

    def die(self) -> None:
        """The process is gone, and the next one is on its way."""
        restarts = self.view.restarts + 1
        self.view = replace(
            self.view, state="starting", restarts=restarts, heartbeat_age_s=None, status=None
        )

    def close(self, timeout_s: float) -> None:
        """Nothing to end."""

    def _honest_device(self) -> dict[str, Any]:
        status = GPUResourceManager("cpu", reaper=False).get_status()
        return {**status["devices"][0], "host": {"pinned_bytes": 3, "cache_bytes": 4}}


class Pair:
    """Services over two such workers."""

    def __init__(self, models: Path) -> None:
        settings = Settings(models_dir=models, voice_devices=("cuda:0", "cuda:1"))
        self.workers = [FakeWorker(), FakeWorker()]
        leases = Leases(settings, lambda: GPUResourceManager("cpu", reaper=False))
        local = DeviceConverter(settings, leases, FakeEngine(models))
        lanes: list[Any] = [WorkerLane(w, "cuda") for w in self.workers]  # type: ignore[arg-type]
        lanes.append(LocalLane(local, 1, lambda: False))
        self.services = Services(settings, local, lambda changed: lanes)

    def series(self, start: str) -> dict[str, float]:
        """What Prometheus would see of one metric."""
        return below(scrape(self.services), start)


@pytest.fixture
def pair(fake_models: Path) -> Iterator[Pair]:
    pair = Pair(fake_models)
    yield pair
    pair.services.close()


def test_a_gpus_memory_is_shown_by_kind(pair: Pair) -> None:
    pair.workers[1].beat(**GPU)
    assert pair.series("voice_vram_bytes{device=1,kind=") == {
        "total}": 80,
        "free}": 50,
        "external}": 5,
        "budget}": 70,
        "ledger}": 25,
    }
    assert pair.series("voice_pinned_bytes") == {"{device=1}": 3}
    assert pair.series("voice_host_cache_bytes") == {"{device=1}": 4}


def test_a_gpus_pressure_and_copies_are_shown(pair: Pair) -> None:
    pair.workers[1].beat(**GPU)
    assert pair.series("voice_pressure_level") == {"{device=1}": 2}
    assert pair.series("voice_copy_gbps") == {"{device=1}": 12.5}


def test_each_loop_of_a_worker_shows_its_age(pair: Pair) -> None:
    pair.workers[1].beat(**GPU)
    assert pair.series("voice_heartbeat_age_seconds") == {
        "{device=1,loop=timers}": 0.5,
        "{device=1,loop=worker}": 0.2,
    }


def test_restarts_are_counted_while_the_worker_is_down(pair: Pair) -> None:
    pair.workers[0].beat()
    pair.workers[0].die()
    assert pair.series("voice_worker_restarts_total") == {"{device=0}": 1}


def test_counters_go_on_when_a_worker_begins_again_at_zero(pair: Pair) -> None:
    worker = pair.workers[0]
    worker.count(loads=5, evictions=2)
    pair.series("voice_loads_total")
    worker.die()
    assert pair.series("voice_loads_total") == {"{device=0,source=disk}": 5}
    worker.count(loads=7)  # more than the first one had: it is not its successor all the same
    assert pair.series("voice_loads_total") == {"{device=0,source=disk}": 12}
    assert pair.series("voice_evictions_total") == {"{device=0}": 2}


def test_a_dead_worker_holds_nothing(pair: Pair) -> None:
    worker = pair.workers[0]
    held = {"id": "voice:anna@1", "state": "ready", "leases": 1, "holders": []}
    worker.beat(models=[held])
    assert pair.series("voice_leases") == {"{device=0}": 1}
    worker.die()
    assert pair.series("voice_leases") == {}
    assert pair.series("voice_model_state") == {}


def test_who_waits_while_no_device_is_up_is_shown(pair: Pair, recording: bytes) -> None:
    token = Token(PATIENCE_S)

    def wait() -> None:
        with suppress(Cancelled, DeadlineExceeded):
            pair.services.convert(request_for(recording), token)

    thread = in_thread(wait)
    until(lambda: pair.series("voice_queue_depth") == {"{class=interactive,device=none}": 1})
    token.cancel()
    thread.join()
    assert pair.series("voice_queue_depth") == {}


def test_a_tally_adds_up_all_lives() -> None:
    tally = Tally()
    assert tally.after(0, None)["loads"] == 0
    assert tally.after(0, {"loads": 2})["loads"] == 2
    assert tally.after(0, {"loads": 3})["loads"] == 3
    assert tally.after(0, None)["loads"] == 3  # it is dead
    assert tally.after(1, None)["loads"] == 3
    assert tally.after(2, {"loads": 1})["loads"] == 4  # the second life told nothing
    assert tally.after(3, {"loads": 1})["loads"] == 5


@pytest.mark.parametrize(
    ("model_id", "label"),
    [
        ("voice:anna@1f", "anna"),
        ("voice:b@b@1f", "b@b"),
        ("voice:gone@1f", "other"),
        ("content:hubert", "content:hubert"),
        ("f0:fcpe", "f0:fcpe"),
        ("anna", "other"),
    ],
)
def test_models_are_called_by_names_of_which_there_are_few(model_id: str, label: str) -> None:
    assert model_label(model_id, {"anna", "b@b"}) == label
