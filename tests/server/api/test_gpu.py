from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from api_server import create_app
from rvc_core.options import ConversionOptions
from rvc_core.token import Token
from server.api.gpu import OFFLOAD_PATHS, RELEASE_PATHS, STATUS_PATHS
from server.services import ConvertRequest, Services
from tests.server.fakes import fake_services


@pytest.fixture
def used(services: Services, recording: bytes) -> Services:
    """Services that have converted with `anna` once."""
    services.convert(ConvertRequest(recording, "anna", ConversionOptions(), "test"), Token())
    return services


def state_of(client: FlaskClient, voice: str = "anna") -> str:
    (found,) = [v for v in client.get("/api/v1/models").get_json()["models"] if v["id"] == voice]
    return str(found["state"])


def names(moved: list[str]) -> set[str]:
    return {model.split("@")[0] for model in moved}


@pytest.mark.parametrize("path", STATUS_PATHS)
def test_the_status_shows_devices_models_and_queue(
    used: Services, client: FlaskClient, path: str
) -> None:
    body = client.get(path).get_json()
    (device,) = body["devices"]
    assert (body["mode"], body["waiting"], device["name"]) == ("cpu", [], "cpu")
    assert device["queue"] == {"interactive": 0, "batch": 0, "running": 0, "limit": 10}
    states = {model["id"].split("@")[0]: model["state"] for model in device["models"]}
    assert states == {"content:fake": "ready", "f0:fcpe": "ready", "voice:anna": "ready"}


def test_the_status_of_a_server_that_has_done_nothing_yet(client: FlaskClient) -> None:
    assert client.get("/api/v1/gpu/status").get_json()["devices"] == []


@pytest.mark.parametrize("path", OFFLOAD_PATHS)
def test_one_voice_is_offloaded(used: Services, client: FlaskClient, path: str) -> None:
    moved = client.post(path, json={"model": "anna"}).get_json()
    assert names(moved["offloaded"]) == {"voice:anna"}
    assert moved["freed_bytes"] == 1000
    assert state_of(client) == "offloaded"


@pytest.mark.parametrize("path", RELEASE_PATHS)
def test_without_a_body_all_models_are_released(
    used: Services, client: FlaskClient, path: str
) -> None:
    moved = client.post(path).get_json()
    assert names(moved["released"]) == {"content:fake", "f0:fcpe", "voice:anna"}
    assert state_of(client) == "unloaded"


def test_models_in_use_are_named_and_left_alone(used: Services, client: FlaskClient) -> None:
    model_id = used.leases.model_id("anna")
    assert model_id is not None
    with used.gpu.acquire(model_id):
        body = {"model": "anna", "timeout_s": 0}
        answer = client.post("/api/v1/gpu/release", json=body)
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"], error["retryable"]) == (409, "model_in_use", True)
    assert f"{model_id} (in_use)" in error["message"]
    assert state_of(client) == "ready"


def test_nothing_to_do_is_no_error(client: FlaskClient) -> None:
    moved = client.post("/api/v1/gpu/offload", json={"model": "anna"})
    assert moved.get_json() == {
        **dict.fromkeys(("offloaded", "released", "skipped", "cancelled"), []),
        "freed_bytes": 0,
    }


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"),
        ({"model": 7}, 400, "model"),
        ({"timeout_s": -1}, 400, "timeout_s"),
        ({"timeout_s": 601}, 400, "timeout_s"),
        ({"modle": "anna"}, 400, "modle"),
        ([], 400, None),
    ],
)
def test_wrong_bodies_are_refused_by_name(
    client: FlaskClient, body: Any, status: int, param: str | None
) -> None:
    answer = client.post("/api/v1/gpu/release", json=body)
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (status, param)


def test_a_server_that_is_open_to_all_lets_nobody_move_models(
    services: Services, fake_models: Any
) -> None:
    wide = fake_services(fake_models, bind_host="0.0.0.0")
    answer = create_app(wide).test_client().post("/api/v1/cache/clear")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (403, "forbidden")
    guarded = fake_services(fake_models, bind_host="0.0.0.0", api_key="k")
    client = create_app(guarded).test_client()
    assert client.post("/api/v1/cache/clear").status_code == 401
    assert client.post("/api/v1/cache/clear", headers={"X-API-Key": "k"}).status_code == 200


def test_metrics_are_served_as_prometheus_reads_them(used: Services, client: FlaskClient) -> None:
    answer = client.get("/metrics")
    families = {f.name: f for f in text_string_to_metric_families(answer.get_data(as_text=True))}
    done = {s.labels["outcome"]: s.value for s in families["voice_conversions"].samples}
    assert answer.mimetype == "text/plain"
    assert done["done"] == 1
    assert "voice_model_state" in families
