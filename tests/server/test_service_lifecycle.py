"""From warming up to draining."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_manager import GPUResourceManager
from server.errors import DeviceUnavailable, Draining
from server.services import Services
from server.settings import Settings
from tests.server.calls import convert, converting
from tests.server.fakes import engine_of, services_on


def test_ready_only_after_warming_up(services: Services) -> None:
    assert services.ready().reasons == ("The models are loading.",)
    services.warm_up()
    assert services.ready().ready
    assert engine_of(services).loaded == ["content:fake", "f0:fcpe"]


def test_ready_without_a_voice_but_with_a_note(services: Services, fake_models: Path) -> None:
    services.warm_up()
    (fake_models / "voices" / "anna.pth").unlink()
    state = services.ready()
    assert state.ready
    assert "No voice is in" in state.reasons[0]


def test_not_ready_without_a_content_encoder(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.warm_up()
    monkeypatch.setattr(services.engine, "content_encoders", dict)
    assert not services.ready().ready


def test_a_missing_device_is_said_by_ready_and_by_requests(
    fake_models: Path, recording: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    def build_gpu() -> GPUResourceManager:
        raise DeviceUnavailable("DEVICE is cuda, but torch finds no GPU that it can use.")

    services = services_on(Settings(models_dir=fake_models), build_gpu)
    services.warm_up()
    assert services.ready().reasons == ("DEVICE is cuda, but torch finds no GPU that it can use.",)
    assert "not ready" in caplog.text
    with pytest.raises(DeviceUnavailable):
        convert(services, recording)


def test_a_drained_server_refuses_new_work_and_lets_old_work_end(
    services: Services, recording: bytes
) -> None:
    assert services.drain(0) is False
    with pytest.raises(Draining):
        convert(services, recording)
    assert "The server is shutting down." in services.ready().reasons


def test_work_that_does_not_end_in_time_is_cancelled(
    services: Services, recording: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.services.GIVE_UP_S", 0.0)
    with converting(services, recording) as token:
        assert services.drain(0) is True
        assert token.cancelled
