from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.rvc import LoadableModel
from gpu.errors import LoadFailed
from gpu_manager import GPUResourceManager
from rvc_core.token import Token
from server.placement import Priority
from server.services import Services
from server.settings import Settings
from tests.gpu.fakes import FakeClock, in_thread, until
from tests.server.calls import convert, converting, request_for
from tests.server.fakes import FakeModel, engine_of, services_on
from tests.server.scrapes import below, scrape

NAMES = ("content:fake", "f0:fcpe", "anna")


def states(services: Services) -> set[str]:
    """Model and state of all that are shown, each once."""
    found = below(scrape(services), "voice_model_state{device=0,model=")
    assert set(found.values()) <= {1.0}
    return {name.removesuffix("}").replace(",state=", " ") for name in found}


def test_each_model_is_shown_in_its_present_state(services: Services, recording: bytes) -> None:
    assert states(services) == set()
    convert(services, recording)
    assert states(services) == {f"{name} ready" for name in NAMES}
    services.offload("anna")
    assert "anna offloaded" in states(services)
    assert "anna ready" not in states(services)


def test_a_voice_without_a_file_is_another(
    services: Services, fake_models: Path, recording: bytes
) -> None:
    convert(services, recording)
    (fake_models / "voices" / "anna.pth").unlink()
    assert "other ready" in states(services)


def test_several_others_are_added_up(
    services: Services, fake_models: Path, recording: bytes
) -> None:
    (fake_models / "voices" / "bert.pth").write_bytes(b"bert")
    convert(services, recording, "anna")
    convert(services, recording, "bert")
    (fake_models / "voices" / "anna.pth").unlink()
    (fake_models / "voices" / "bert.pth").unlink()
    others = below(scrape(services), "voice_model_state{device=0,model=other")
    assert others == {",state=ready}": 2}


def test_leases_are_counted_and_the_oldest_one_tells_its_age(
    fake_models: Path, recording: bytes
) -> None:
    clock = FakeClock()
    services = services_on(
        Settings(models_dir=fake_models),
        lambda: GPUResourceManager("cpu", clock=clock, reaper=False),
    )
    with converting(services, recording):
        clock.advance(7)
        series = scrape(services)
        assert series["voice_leases{device=0}"] == 3
        assert series["voice_lease_age_seconds_max{device=0}"] == 7
        assert series["voice_heartbeat_age_seconds{device=0,loop=timers}"] == 7
    series = scrape(services)
    assert series["voice_leases{device=0}"] == 0
    assert series["voice_lease_age_seconds_max{device=0}"] == 0


def test_loads_offloads_and_restores_are_counted(services: Services, recording: bytes) -> None:
    convert(services, recording)
    services.offload()
    convert(services, recording)
    series = scrape(services)
    assert series["voice_loads_total{device=0,source=disk}"] == 3
    assert series["voice_loads_total{device=0,source=host}"] == 3
    assert series["voice_offloads_total{device=0}"] == 3
    assert series["voice_evictions_total{device=0}"] == 0


def failing(services: Services, error: Exception) -> LoadableModel:
    """The content encoder, whose loader raises."""
    model = engine_of(services).content_models()[0]

    def load(device: str) -> Any:
        raise error

    return replace(model, load=load)


def test_failed_loads_are_counted(
    services: Services, recording: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = failing(services, ValueError("odd"))
    monkeypatch.setattr(services.engine, "content", lambda facts: broken)
    with pytest.raises(LoadFailed):
        convert(services, recording)
    series = scrape(services)
    assert series["voice_load_failures_total{device=0}"] == 1
    assert series["voice_oom_total{device=0}"] == 0


def test_want_of_memory_is_counted_for_loads_and_for_work(
    services: Services, recording: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.gpu.make_room()
    assert scrape(services)["voice_oom_total{device=0}"] == 1
    broken = failing(services, MemoryError())
    monkeypatch.setattr(services.engine, "content", lambda facts: broken)
    with suppress(Exception):
        convert(services, recording)
    assert scrape(services)["voice_oom_total{device=0}"] == 2


def test_evictions_are_counted(fake_models: Path, recording: bytes) -> None:
    (fake_models / "voices" / "bert.pth").write_bytes(b"bert")
    services = services_on(
        Settings(models_dir=fake_models),
        lambda: GPUResourceManager("cpu", reaper=False, budget_bytes=3000),
    )
    convert(services, recording, "anna")
    convert(services, recording, "bert")
    assert scrape(services)["voice_evictions_total{device=0}"] >= 1


def test_a_model_that_outlives_its_release_is_counted(
    services: Services, recording: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = FakeModel("kept")
    model = replace(engine_of(services).content_models()[0], load=lambda device: kept)
    monkeypatch.setattr(services.engine, "content", lambda facts: model)
    convert(services, recording)
    services.release()
    assert scrape(services)["voice_leak_suspected_total{device=0}"] == 1


def test_counters_outlive_the_models_that_they_counted(
    services: Services, fake_models: Path, recording: bytes
) -> None:
    convert(services, recording)
    (fake_models / "voices" / "anna.pth").unlink()
    services.voices()  # the manager forgets it
    assert states(services) == {"content:fake ready", "f0:fcpe ready"}
    assert scrape(services)["voice_loads_total{device=0,source=disk}"] == 3


def test_memory_is_shown_as_far_as_it_is_known(fake_models: Path, recording: bytes) -> None:
    services = services_on(
        Settings(models_dir=fake_models),
        lambda: GPUResourceManager("cpu", reaper=False, budget_bytes=9000),
    )
    convert(services, recording)
    services.offload("anna")
    series = scrape(services)
    shown = below(series, "voice_vram_bytes{device=0,kind=")
    assert shown == {"budget}": 9000, "ledger}": 2000}  # a CPU tells no more
    assert series["voice_host_cache_bytes{device=0}"] == 1000
    assert series["voice_pinned_bytes{device=0}"] == 0
    assert series["voice_pressure_level{device=0}"] == 0


def test_the_line_is_shown_by_device_and_class(services: Services, recording: bytes) -> None:
    tokens = [Token(), Token()]
    batch = replace(request_for(recording), priority=Priority.BATCH)

    def wait(request: Any, token: Token) -> None:
        with suppress(Exception):
            services.convert(request, token)

    with converting(services, recording):
        threads = [
            in_thread(lambda: wait(request_for(recording), tokens[0])),
            in_thread(lambda: wait(batch, tokens[1])),
        ]
        until(lambda: len(below(scrape(services), "voice_queue_depth")) == 2)
        assert below(scrape(services), "voice_queue_depth") == {
            "{class=interactive,device=0}": 1,
            "{class=batch,device=0}": 1,
        }
        for token, thread in zip(tokens, threads, strict=True):
            token.cancel()
            thread.join()
    assert below(scrape(services), "voice_queue_depth") == {}


def test_a_status_that_cannot_be_read_costs_only_itself(
    services: Services,
    recording: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    convert(services, recording)

    def fail() -> Any:
        raise OSError("the driver is gone")

    monkeypatch.setattr(services._fleet, "status", fail)
    series = scrape(services)
    assert series["voice_conversions_total{outcome=done}"] == 1
    assert "voice_queue_depth{class=batch,device=0}" in series
    assert "voice_leases{device=0}" not in series
    assert "the driver is gone" in caplog.text
