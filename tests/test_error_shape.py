"""Every way in which a request can fail leaves with the same body."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import gpu.errors
import rvc_core.errors
import server.errors
import server.jobs.errors
from api_server import create_app
from rvc_core.token import Token
from server.api.problems import DEFECTS, RETRYABLE, STATUSES
from tests.rvc_core.recordings import by_soundfile, sine
from tests.server.fakes import FakeEngine, engine_of, fake_services

MODULES = (rvc_core.errors, gpu.errors, server.errors, server.jobs.errors)
BASES = (rvc_core.errors.CoreError, gpu.errors.GpuError, server.errors.ServerError)
ERRORS = [
    value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, BASES)
]
RECORDING = by_soundfile(sine(0.1, 16_000), 16_000, "WAV")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "anna.pth").write_bytes(b"anna")
    (tmp_path / "voices" / "bad.pth").write_bytes(b"broken")
    services = fake_services(tmp_path, default_voice="anna", max_upload_mb=1)
    yield create_app(services).test_client()
    services.close()


def engine(client: FlaskClient) -> FakeEngine:
    return engine_of(client.application.extensions["services"])


def convert(client: FlaskClient, recording: bytes = RECORDING, **fields: Any) -> TestResponse:
    data = {"audio": (io.BytesIO(recording), "x.wav"), **fields}
    return client.post("/api/v1/convert", data=data)


def check(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Check the shape of an error; return its inner part."""
    assert answer.status_code == status
    body = json.loads(answer.data)
    assert set(body) == {"error", "request_id"}
    assert body["request_id"] == answer.headers["X-Request-Id"]
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "code", "param", "retryable"}
    assert error["code"] == code
    assert error["retryable"] == (code in RETRYABLE)
    assert error["message"] and "\n" not in error["message"]
    assert error["type"] == (
        "unavailable" if status == 503 else "server" if status >= 500 else "invalid_request"
    )
    return error


def test_every_error_class_has_a_status_or_is_a_defect() -> None:
    codes = {error.code for error in ERRORS}
    assert codes - STATUSES.keys() - DEFECTS == set()
    assert STATUSES.keys() & DEFECTS == set()
    assert STATUSES.keys() >= RETRYABLE


@pytest.mark.parametrize("error_class", ERRORS, ids=lambda error: error.__name__)
def test_every_error_of_the_services_leaves_in_shape(
    client: FlaskClient, error_class: type[Exception]
) -> None:
    def fail(token: Token) -> None:
        raise error_class("One line about it.")

    engine(client).during_convert = fail
    code = error_class.code  # type: ignore[attr-defined]
    if code in DEFECTS:
        code = "internal_error"
    error = check(convert(client), STATUSES[code], code)
    if code != "internal_error":
        assert error["message"] == "One line about it."


def test_a_defect_hides_its_details_and_logs_them(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(token: Token) -> None:
        raise ZeroDivisionError("secret")

    engine(client).during_convert = fail
    answer = convert(client)
    check(answer, 500, "internal_error")
    assert b"secret" not in answer.data
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.exc_info is not None


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/api/v2/convert", 404, "not_found"),
        ("GET", "/apidocs/assets/none.js", 404, "not_found"),
        ("GET", "/apidocs/assets/../../settings.py", 404, "not_found"),
        ("GET", "/api/v1/convert", 405, "method_not_allowed"),
        ("DELETE", "/api/v1/models", 405, "method_not_allowed"),
        ("DELETE", "/health", 405, "method_not_allowed"),
        ("POST", "/ready", 405, "method_not_allowed"),
        ("PUT", "/info", 405, "method_not_allowed"),
        ("POST", "/openapi.json", 405, "method_not_allowed"),
        ("POST", "/", 405, "method_not_allowed"),
        ("POST", "/api/v1/convert", 400, "invalid_request"),
    ],
)
def test_routes_fail_in_shape(
    client: FlaskClient, method: str, path: str, status: int, code: str
) -> None:
    answer = client.open(path, method=method)
    check(answer, status, code)
    assert ("Allow" in answer.headers) == (status == 405)


FORM = "multipart/form-data; boundary=x"


def test_a_body_over_the_limit(client: FlaskClient) -> None:
    answer = client.post("/api/v1/convert", data=b"x" * (1 << 21), content_type=FORM)
    check(answer, 413, "upload_too_large")


def test_a_text_field_over_the_limit(client: FlaskClient) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
    body = head + b"x" * 600_000 + b"\r\n--x--\r\n"
    check(client.post("/api/v1/convert", data=body, content_type=FORM), 413, "upload_too_large")


def test_a_body_of_another_type(client: FlaskClient) -> None:
    answer = client.post("/api/v1/convert", data=b"RIFF", content_type="audio/wav")
    check(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"f0_up_key": "x"}, 400, "invalid_option", "f0_up_key"),
        ({"nonsense": "1"}, 400, "invalid_option", "nonsense"),
        ({"model": "nobody"}, 404, "voice_not_found", "model"),
        ({"model": "bad"}, 400, "invalid_checkpoint", None),
        ({"spk_id": "2"}, 400, "speaker_out_of_range", "spk_id"),
        ({"index_path": "../x"}, 400, "index_not_found", "index_path"),
        ({"f0_method": "rmvpe"}, 400, "missing_weights", "f0_method"),
        ({"timeout_s": "0.000001"}, 504, "deadline_exceeded", "timeout_s"),
    ],
)
def test_fields_fail_in_shape(
    client: FlaskClient, fields: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    assert check(convert(client, **fields), status, code)["param"] == param


def test_a_full_house_says_when_to_come_back(client: FlaskClient) -> None:
    def fail(token: Token) -> None:
        raise server.errors.QueueFull("Full.", retry_after_s=7)

    engine(client).during_convert = fail
    assert convert(client).headers["Retry-After"] == "7"


def test_no_key_no_answer(tmp_path: Path) -> None:
    client = create_app(fake_services(tmp_path, api_key="k")).test_client()
    check(client.get("/api/v1/models"), 401, "unauthorized")
    check(client.get("/api/nowhere"), 401, "unauthorized")
    check(client.post("/api/v1/convert", headers={"X-API-Key": "x"}), 401, "unauthorized")
