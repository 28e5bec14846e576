from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from api_server import create_app
from gpu_manager import GPUResourceManager
from server.services import Services
from server.settings import Settings
from tests.gpu.fakes import FakeClock
from tests.server.calls import convert, converting
from tests.server.fakes import services_on

PATH = "/api/v1/gpu/settings"


def voice_state(services: Services) -> str:
    return services.leases.states()["anna"]


def test_the_values_in_force_are_shown(client: FlaskClient) -> None:
    assert client.get(PATH).get_json() == {
        "gpu_offload_after": 300.0,
        "gpu_idle_timeout": 600.0,
        "gpu_vram_budget": "",
        "max_voices": 8,
        "pinned": [],
    }


def test_a_shorter_timer_moves_a_voice_that_has_been_idle_for_longer(
    fake_models: Any, recording: bytes
) -> None:
    clock = FakeClock()
    services = services_on(
        Settings(models_dir=fake_models),
        lambda: GPUResourceManager("cpu", clock, reaper=False),
    )
    client = create_app(services).test_client()
    convert(services, recording, "anna")
    clock.advance(50)
    assert services.gpu.run_due() == 0
    answer = client.patch(PATH, json={"gpu_offload_after": 40, "gpu_idle_timeout": 100})
    assert answer.get_json()["gpu_offload_after"] == 40.0
    services.gpu.run_due()
    assert voice_state(services) == "offloaded"
    clock.advance(50)
    services.gpu.run_due()
    assert voice_state(services) == "unloaded"
    services.close()


def test_voices_loaded_later_have_the_new_timers(
    services: Services, client: FlaskClient, recording: bytes
) -> None:
    client.patch(PATH, json={"gpu_idle_timeout": 0})
    convert(services, recording, "anna")
    services.gpu.run_due()
    assert voice_state(services) == "unloaded"


def test_pins_and_the_number_of_voices(
    services: Services, client: FlaskClient, recording: bytes
) -> None:
    convert(services, recording, "anna")
    body = client.patch(PATH, json={"pins": {"anna": True}, "max_voices": 1}).get_json()
    assert (body["pinned"], body["max_voices"]) == (["anna"], 1)
    assert services.gpu.get_status()["config"]["max_counted_models"] == 1
    assert client.patch(PATH, json={"pins": {"anna": False}}).get_json()["pinned"] == []


def test_a_budget(services: Services, client: FlaskClient, recording: bytes) -> None:
    convert(services, recording, "anna")
    assert client.patch(PATH, json={"gpu_vram_budget": "1000"}).status_code == 200
    (device,) = services.gpu_status()["devices"]
    assert device["budget_bytes"] == 1000


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"gpu_offload_after": -2}, "gpu_offload_after"),
        ({"gpu_idle_timeout": "soon"}, "gpu_idle_timeout"),
        ({"gpu_idle_timeout": True}, "gpu_idle_timeout"),
        ({"gpu_vram_budget": "0.5"}, "gpu_vram_budget"),
        ({"gpu_vram_budget": "much"}, "gpu_vram_budget"),
        ({"max_voices": 0}, "max_voices"),
        ({"max_voices": 1.5}, "max_voices"),
        ({"max_voices": None}, "max_voices"),
        ({"pins": {"anna": 1}}, "pins"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_not_allowed_changes_nothing(
    client: FlaskClient, body: dict[str, Any], param: str | None
) -> None:
    before = client.get(PATH).get_json()
    answer = client.patch(PATH, json=body)
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, param)
    assert client.get(PATH).get_json() == before


def test_an_unknown_voice_changes_nothing(client: FlaskClient) -> None:
    answer = client.patch(PATH, json={"max_voices": 2, "pins": {"nobody": True}})
    assert answer.status_code == 404
    assert client.get(PATH).get_json()["max_voices"] == 8


def test_force_ends_the_conversion_that_uses_a_voice(
    services: Services, client: FlaskClient, recording: bytes
) -> None:
    with converting(services, recording, "anna") as token:
        refused = client.post("/api/v1/gpu/offload", json={"model": "anna", "timeout_s": 0})
        assert (refused.status_code, token.cancelled) == (409, False)
        forced = {"model": "anna", "timeout_s": 0, "force": True}
        client.post("/api/v1/gpu/offload", json=forced)
        assert token.cancelled


def test_one_device_has_no_process_to_renew(client: FlaskClient) -> None:
    answer = client.post("/api/v1/gpu/release", json={"level": "process"})
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"]) == (409, "no_worker_process")
    assert "no process of its own" in error["message"]


@pytest.mark.parametrize(
    "body", [{"level": "planet"}, {"level": "process", "model": "anna"}, {"force": "yes"}]
)
def test_other_levels_are_refused(client: FlaskClient, body: dict[str, Any]) -> None:
    assert client.post("/api/v1/gpu/release", json=body).status_code == 400
