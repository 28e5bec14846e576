from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api_server import create_app
from server.services import Services
from tests.server.fakes import fake_services


def test_health_answers_before_any_model_is_loaded(client: FlaskClient) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    body = answer.get_json()
    assert (body["status"], body["version"]) == ("ok", "0.1.0")
    assert body["uptime_s"] >= 0


def test_health_is_503_when_the_managers_loop_is_stuck(
    services: Services, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.gpu, "heartbeat_age_s", lambda: 31.0)
    answer = client.get("/health")
    assert (answer.status_code, answer.get_json()["status"]) == (503, "stuck")


def test_ready_is_503_with_reasons_until_warm(services: Services, client: FlaskClient) -> None:
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert answer.get_json() == {"ready": False, "reasons": ["The models are loading."]}
    services.warm_up()
    assert client.get("/ready").get_json() == {"ready": True, "reasons": []}


def test_models_lists_facts_and_faults(client: FlaskClient, fake_models: Path) -> None:
    (fake_models / "voices" / "bad.pth").write_bytes(b"broken")
    body = client.get("/api/v1/models").get_json()
    anna, bad = body["models"]
    assert (anna["id"], anna["engine"], anna["kind"], anna["f0"]) == ("anna", "rvc", "voice", True)
    assert (anna["card"], anna["index"], anna["bytes"]) == ({"licence": "none"}, False, 4)
    assert (bad["error"], bad["sample_rate"]) == ("bad.pth is no voice.", None)
    assert body["default_model"] is None


def test_info_says_what_the_server_can_do(client: FlaskClient) -> None:
    body = client.get("/info").get_json()
    assert body["default_f0_method"] == "fcpe"
    assert "rmvpe" not in body["f0_methods"]
    assert body["limits"]["max_upload_bytes"] == 100 * 1024 * 1024
    assert body["models"] == ["anna"]


@pytest.mark.parametrize("path", ["/", "/docs", "/apidocs"])
def test_short_addresses_lead_to_the_documentation(client: FlaskClient, path: str) -> None:
    answer = client.get(path, follow_redirects=True)
    assert answer.request.path == "/apidocs/"
    assert answer.status_code == 200


def test_the_key_guards_the_api_and_not_the_probes(fake_models: Path) -> None:
    services = fake_services(fake_models, api_key="k")
    client = create_app(services).test_client()
    refused = client.get("/api/v1/models")
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert client.get("/info").status_code == 401
    assert client.get("/api/v1/models", headers={"X-API-Key": "k"}).status_code == 200
    for path in ("/health", "/openapi.json", "/apidocs/"):
        assert client.get(path).status_code == 200
