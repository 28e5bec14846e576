"""Lanes and the fleet of them, over workers that need no process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpu.errors import WorkerLost
from gpu.worker import WorkerView
from gpu_manager import GPUResourceManager
from rvc_core.options import ConversionOptions
from rvc_core.token import Token
from server.conversion import DeviceConverter
from server.errors import DeviceUnavailable
from server.lanes import LocalLane, WorkerLane
from server.leases import Leases
from server.records import ConvertRequest
from server.servant import ConversionServant
from server.services import Services
from server.settings import Settings
from tests.server.fakes import FakeEngine


class Control:
    """A task's control without another process."""

    timeout_s: float | None = None

    def report(self, progress: Any) -> None:
        """Nobody listens."""

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Nobody cancels."""


class FakeWorker:
    """Runs its servant right here; `state` is what the test says."""

    def __init__(self, servant: ConversionServant) -> None:
        self.servant = servant
        self.state = "up"
        self.builds: list[Any] = []
        self.n_renewed = 0
        self.on_change: Callable[[], None] = lambda: None

    @property
    def view(self) -> WorkerView:
        """The worker now."""
        status = self.servant.status() if self.state == "up" else None
        state: Any = self.state
        return WorkerView(0, 123, state, 0, 0.1, "it fell", status)

    def turn(self, state: str) -> None:
        """Enter another state."""
        self.state = state
        self.on_change()

    def run(self, task: Any, token: Token, on_report: Any = None) -> Any:
        """Do the task."""
        if self.state != "up":
            raise WorkerLost("It is down.")
        control: Any = Control()
        return self.servant.run(task, control)

    def call(self, name: str, /, timeout_s: float = 5.0, **arguments: Any) -> Any:
        """Answer a call."""
        if self.state != "up":
            raise WorkerLost("It is down.")
        return self.servant.call(name, arguments)

    def build_with(self, build: Any) -> None:
        """Further processes are made like that."""
        self.builds.append(build)

    def renew(self, timeout_s: float) -> None:
        """Another process."""
        if self.state != "up":
            raise WorkerLost("It is down.")
        self.n_renewed += 1

    def wait_up(self, timeout_s: float) -> bool:
        """Is it up?"""
        return self.state == "up"

    def close(self, timeout_s: float) -> None:
        """Let its models go."""
        self.servant.close()


class Crew:
    """Services over two such workers, and the converter that stands in for them."""

    def __init__(self, models: Path) -> None:
        (models / "voices" / "bert.pth").write_bytes(b"bert")
        settings = Settings(models_dir=models, voice_devices=("cpu", "cpu"))
        self.workers = [FakeWorker(self._servant(settings, n)) for n in range(2)]
        self.local = self._converter(settings)

        def open_lanes(changed: Callable[[], None]) -> list[Any]:
            for worker in self.workers:
                worker.on_change = changed
            lanes: list[Any] = [WorkerLane(worker, "cpu") for worker in self.workers]  # type: ignore[arg-type]
            return [*lanes, LocalLane(self.local, 1, self.all_broken)]

        self.services = Services(settings, self.local, open_lanes)

    def all_broken(self) -> bool:
        """Whether the local lane is needed."""
        return all(worker.state == "broken" for worker in self.workers)

    def convert(self, audio: bytes, voice: str = "anna") -> Any:
        """Convert with the services."""
        return self.services.convert(
            ConvertRequest(audio, voice, ConversionOptions(), "test"), Token(5.0)
        )

    def holders(self, voice: str) -> list[int]:
        """Workers that have the voice."""
        return [n for n, w in enumerate(self.workers) if voice in w.servant.status()["voices"]]

    def _servant(self, settings: Settings, number: int) -> ConversionServant:
        return ConversionServant(self._converter(settings), number)

    def _converter(self, settings: Settings) -> DeviceConverter:
        leases = Leases(settings, lambda: GPUResourceManager("cpu", reaper=False))
        return DeviceConverter(settings, leases, FakeEngine(settings.models_dir))


@pytest.fixture
def crew(fake_models: Path) -> Crew:
    return Crew(fake_models)


def test_a_voice_goes_back_to_where_it_is_and_another_to_an_idle_device(
    crew: Crew, recording: bytes
) -> None:
    for _ in range(3):
        crew.convert(recording, "anna")
    crew.convert(recording, "bert")
    assert (crew.holders("anna"), crew.holders("bert")) == ([0], [1])


def test_a_dead_worker_gets_no_work(crew: Crew, recording: bytes) -> None:
    crew.convert(recording, "anna")
    crew.workers[0].turn("restarting")
    assert crew.convert(recording, "anna").voice == "anna"
    assert crew.workers[1].servant.status()["voices"] == {"anna": "ready"}


def test_with_every_worker_broken_this_process_takes_over_until_one_is_back(
    crew: Crew, recording: bytes
) -> None:
    for worker in crew.workers:
        worker.turn("broken")
    assert crew.convert(recording).voice == "anna"
    assert crew.local.leases.states() == {"anna": "ready"}
    assert crew.services.ready().ready
    crew.workers[1].turn("up")
    crew.convert(recording, "bert")
    assert crew.holders("bert") == [1]
    assert "bert" not in crew.local.leases.states()


def test_one_good_device_is_enough_to_be_ready_and_the_other_is_named(crew: Crew) -> None:
    crew.workers[0].turn("restarting")
    state = crew.services.ready()
    assert state.ready
    assert state.reasons == ("The worker of cpu is restarting: it fell.",)
    crew.workers[1].turn("starting")
    assert not crew.services.ready().ready


def test_status_shows_every_device_with_worker_queue_and_models(
    crew: Crew, recording: bytes
) -> None:
    crew.convert(recording)
    status = crew.services.gpu_status()
    assert status["mode"] == "concurrent"
    assert crew.services.devices == ["cpu", "cpu"]
    first, second = status["devices"]
    assert (first["index"], second["index"]) == (0, 1)
    assert first["worker"]["pid"] == 123
    assert first["queue"] == {"interactive": 0, "batch": 0, "running": 0, "limit": 10}
    assert "voice:anna" in {model["id"].split("@")[0] for model in first["models"]}


def test_a_voice_is_listed_in_its_warmest_state(crew: Crew, recording: bytes) -> None:
    crew.convert(recording)
    crew.workers[0].servant.call("force", {"action": "offload", "voice": "anna", "wait_s": 1})
    assert crew.services.voices()[0].state == "offloaded"
    crew.workers[0].turn("restarting")
    crew.convert(recording)
    crew.workers[0].turn("up")
    assert crew.services.voices()[0].state == "ready"


def test_release_reaches_all_living_workers(crew: Crew, recording: bytes) -> None:
    crew.convert(recording)
    crew.workers[1].turn("restarting")
    moved = crew.services.release("anna")
    assert [model.split("@")[0] for model in moved["released"]] == ["voice:anna"]
    assert moved["freed_bytes"] == 1000
    assert crew.services.release("anna")["released"] == []


def test_a_pin_outlives_the_worker_that_knew_of_it(crew: Crew, recording: bytes) -> None:
    crew.workers[0].turn("restarting")
    crew.workers[1].turn("restarting")
    crew.services.set_pinned("anna", True)
    assert crew.services.voices()[0].pinned
    crew.workers[0].turn("up")
    crew.convert(recording)
    (device,) = [d for d in crew.services.gpu_status()["devices"] if d["index"] == 0]
    pinned = {m["id"].split("@")[0]: m["pinned"] for m in device["models"]}
    assert pinned["voice:anna"]
    crew.services.set_pinned("anna", False)
    assert not crew.services.voices()[0].pinned


def test_a_worker_lets_go_of_a_voice_whose_file_is_gone(
    crew: Crew, recording: bytes, fake_models: Path
) -> None:
    crew.workers[1].turn("restarting")
    crew.convert(recording, "bert")
    (fake_models / "voices" / "bert.pth").unlink()
    crew.convert(recording, "anna")
    assert crew.workers[0].servant.status()["voices"] == {"anna": "ready"}


def test_a_process_does_not_come_up_without_its_device(fake_models: Path) -> None:
    def build_gpu() -> GPUResourceManager:
        raise DeviceUnavailable("There is no such GPU.")

    settings = Settings(models_dir=fake_models)
    leases = Leases(settings, build_gpu)
    converter = DeviceConverter(settings, leases, FakeEngine(fake_models))
    with pytest.raises(DeviceUnavailable):
        ConversionServant(converter, 0)


def test_unknown_calls_are_refused(crew: Crew) -> None:
    with pytest.raises(ValueError, match="no call shutdown"):
        crew.workers[0].servant.call("shutdown", {})


def test_keep_alive_reaches_the_manager(crew: Crew, recording: bytes) -> None:
    request = ConvertRequest(recording, "anna", ConversionOptions(), "test", keep_alive_s=0)
    crew.services.convert(request, Token())
    gpu = crew.workers[0].servant._converter.leases.gpu
    assert gpu.run_due() == 1
    assert crew.workers[0].servant.status()["voices"] == {"anna": "offloaded"}
