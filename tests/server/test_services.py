from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu.errors import LoadFailed
from gpu_manager import GPUResourceManager, Limits
from rvc_core.audio import Audio
from rvc_core.errors import (
    Cancelled,
    EmptyAudio,
    InvalidCheckpoint,
    MissingWeights,
    UndecodableAudio,
    VoiceNotFound,
)
from rvc_core.token import Token
from server.errors import QueueFull
from server.services import Services
from server.settings import Settings
from tests.gpu.fakes import until
from tests.server.calls import PATIENCE_S, convert, convert_or_stop, converting, request_for
from tests.server.fakes import engine_of, fake_services, services_on


def test_a_conversion_says_all_about_itself(services: Services, recording: bytes) -> None:
    result = convert(services, recording)
    assert result.voice == "anna"
    assert result.device == "cpu"
    assert result.state_at_arrival == "unloaded"
    assert set(result.timings) == {"queue", "load", "feature", "f0", "synth", "total"}
    assert result.timings["total"] > 0
    assert result.audio.sample_rate == 16_000
    assert convert(services, recording).state_at_arrival == "ready"


def test_the_voice_is_acquired_last(services: Services, recording: bytes) -> None:
    convert(services, recording)
    kinds = [name.split(":")[0] for name in engine_of(services).loaded]
    assert kinds == ["content", "f0", "voice"]


def test_all_leases_are_given_back_after_an_error(services: Services, recording: bytes) -> None:
    with pytest.raises(Cancelled):
        token = Token()
        token.cancel()
        services.convert(request_for(recording), token)
    models = services.gpu.get_status()["devices"][0]["models"]
    assert [model["leases"] for model in models] == [0] * len(models)


@pytest.mark.parametrize(
    ("audio", "error"), [(b"", EmptyAudio), (b"no audio at all", UndecodableAudio)]
)
def test_bad_audio_is_refused_before_any_model_loads(
    services: Services, audio: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        convert(services, audio)
    assert engine_of(services).loaded == []


def test_an_unknown_voice_is_refused(services: Services, recording: bytes) -> None:
    with pytest.raises(VoiceNotFound):
        convert(services, recording, "nobody")


def test_a_broken_voice_file_gives_the_same_error_each_time(
    services: Services, fake_models: Path, recording: bytes
) -> None:
    (fake_models / "voices" / "bad.pth").write_bytes(b"broken")
    for _ in range(2):
        with pytest.raises(InvalidCheckpoint):
            convert(services, recording, "bad")


def test_an_error_of_ours_in_a_loader_comes_out_as_itself(
    services: Services, recording: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(device: str) -> Any:
        raise MissingWeights("There is no such file.")

    model = engine_of(services).content_models()[0]
    broken = type(model)(model.id, load)
    monkeypatch.setattr(services.engine, "content", lambda facts: broken)
    raised = []
    for _ in range(3):  # all but the first meet the manager's back-off
        with pytest.raises(MissingWeights) as caught:
            convert(services, recording)
        raised.append(caught.value)
    assert len({id(error) for error in raised}) == 3  # one raised twice gathers tracebacks


def test_another_error_in_a_loader_is_the_managers(
    services: Services, recording: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(device: str) -> Any:
        raise ValueError("odd")

    model = engine_of(services).content_models()[0]
    broken = type(model)(model.id, load)
    monkeypatch.setattr(services.engine, "content", lambda facts: broken)
    with pytest.raises(LoadFailed):
        convert(services, recording)


def test_one_voice_converts_one_at_a_time_and_another_is_not_held_up(
    services: Services, fake_models: Path, recording: bytes
) -> None:
    (fake_models / "voices" / "bert.pth").write_bytes(b"bert")
    with converting(services, recording, "anna"):
        assert convert(services, recording, "bert").voice == "bert"
        with pytest.raises(Exception, match=r"took longer than the 0\.05 s"):
            services.convert(request_for(recording, "anna"), Token(timeout_s=0.05))


def test_the_status_names_who_waits_and_why(services: Services, recording: bytes) -> None:
    with ExitStack() as stack:
        stack.enter_context(converting(services, recording, "anna"))
        token = Token()
        late = threading.Thread(
            target=convert_or_stop, args=(services, request_for(recording, "anna"), token)
        )
        late.start()
        until(lambda: len(services.gpu_status()["waiting"]) == 1)
        (waiting,) = services.gpu_status()["waiting"]
        token.cancel()
        late.join(PATIENCE_S)
    assert (waiting["key"], waiting["reason"], waiting["lane"]) == ("anna", "voice_busy", 0)
    assert services.gpu_status()["waiting"] == []


def test_beyond_the_limit_requests_are_sent_away(fake_models: Path, recording: bytes) -> None:
    services = fake_services(fake_models, concurrent_conversions=1, max_queue_per_gpu=0)
    with converting(services, recording), pytest.raises(QueueFull):
        convert(services, recording)
    assert convert(services, recording).voice == "anna"
    services.close()


def test_a_replaced_file_is_loaded_anew_and_the_old_one_let_go(
    services: Services, fake_models: Path, recording: bytes
) -> None:
    convert(services, recording)
    (fake_models / "voices" / "anna.pth").write_bytes(b"anna, again")
    assert convert(services, recording).state_at_arrival == "unloaded"
    models = services.gpu.get_status()["devices"][0]["models"]
    assert len([m for m in models if m["id"].startswith("voice:")]) == 1


def test_voices_tell_state_facts_and_faults(
    services: Services, fake_models: Path, recording: bytes
) -> None:
    (fake_models / "voices" / "bad.pth").write_bytes(b"broken")
    assert [voice.state for voice in services.voices()] == ["unloaded", "unloaded"]
    convert(services, recording, "anna")
    anna, bad = services.voices()
    assert (anna.state, anna.device, anna.sample_rate, anna.error) == ("ready", "cpu", 40_000, None)
    assert (bad.sample_rate, bad.error) == (None, "bad.pth is no voice.")


def test_a_voice_whose_file_is_gone_leaves_memory(
    services: Services, fake_models: Path, recording: bytes
) -> None:
    convert(services, recording)
    (fake_models / "voices" / "anna.pth").unlink()
    assert services.voices() == []
    models = services.gpu.get_status()["devices"][0]["models"]
    assert [m["id"] for m in models if m["id"].startswith("voice:")] == []


def test_voices_count_towards_the_bound_and_shared_models_do_not(
    fake_models: Path, recording: bytes
) -> None:
    (fake_models / "voices" / "bert.pth").write_bytes(b"bert")
    limits = Limits(counted_models=1)
    services = services_on(
        Settings(models_dir=fake_models),
        lambda: GPUResourceManager("cpu", limits=limits, reaper=False),
    )
    convert(services, recording, "anna")
    convert(services, recording, "bert")
    until(  # what is surplus goes in the background
        lambda: {v.id: v.state for v in services.voices()} == {"anna": "unloaded", "bert": "ready"}
    )
    assert services.gpu.states()["content:fake"] == "ready"
    services.close()


def test_caches_go_first_when_memory_runs_out(services: Services, recording: bytes) -> None:
    convert(services, recording)
    dropped: list[str] = []
    services.leases.drop_caches = lambda: dropped.append("indexes")
    services.gpu.make_room()
    assert dropped == ["indexes"]


def test_the_only_voice_is_the_default(services: Services, fake_models: Path) -> None:
    assert services.default_voice() == "anna"
    (fake_models / "voices" / "bert.pth").write_bytes(b"bert")
    assert services.default_voice() is None


def test_the_pitch_of_a_recording(services: Services) -> None:
    curve = services.f0_curve(Audio(np.zeros(1600, np.float32), 16_000))
    assert curve.shape == (10,)
