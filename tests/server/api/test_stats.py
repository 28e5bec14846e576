from __future__ import annotations

from contextlib import suppress

from flask.testing import FlaskClient

from rvc_core.errors import SpeakerOutOfRange
from rvc_core.token import Token
from server.services import Services
from tests.server.calls import convert, converting, request_for


def work(services: Services, recording: bytes) -> None:
    """Two conversions that end well and one that does not."""
    for _ in range(2):
        convert(services, recording, "anna")
    with suppress(SpeakerOutOfRange):
        services.convert(request_for(recording, "anna", speaker_id=7), Token())


def test_the_short_figures_have_these_keys_and_add_up(
    services: Services, client: FlaskClient, recording: bytes
) -> None:
    work(services, recording)
    body = client.get("/concurrent_stats").get_json()
    average = body["gpu_stats"]["0"].pop("average_processing_time")
    assert body == {
        "mode": "single",
        "gpu_count": 1,
        "total_requests": 3,
        "completed_requests": 2,
        "failed_requests": 1,
        "success_rate": 100 * 2 / 3,
        "gpu_stats": {"0": {"requests_processed": 2}},
        "queue_status": {"gpu_0": {"request_queue": 0, "response_queue": 0}},
    }
    assert average > 0


def test_the_long_figures_have_percentiles_and_outcomes(
    services: Services, client: FlaskClient, recording: bytes
) -> None:
    work(services, recording)
    body = client.get("/api/v1/stats").get_json()
    assert (body["total"], body["completed"], body["failed"]) == (3, 2, 1)
    assert body["outcomes"] == {"done": 2, "invalid": 1}
    assert (body["mode"], body["recent"], body["in_progress"], body["restarts"]) == ("cpu", 2, 0, 0)
    assert 0 < body["run_s"]["p50"] <= body["run_s"]["p99"] <= body["total_s"]["p99"]
    (device,) = body["devices"]
    assert (device["index"], device["completed"], device["waiting"]) == (0, 2, 0)


def test_before_the_first_conversion(client: FlaskClient) -> None:
    body = client.get("/api/v1/stats").get_json()
    assert (body["success_rate"], body["total"], body["total_s"]["p50"]) == (100.0, 0, None)
    assert client.get("/concurrent_stats").get_json()["success_rate"] == 100.0


def test_what_runs_is_counted(services: Services, client: FlaskClient, recording: bytes) -> None:
    with converting(services, recording, "anna"):
        assert client.get("/api/v1/stats").get_json()["in_progress"] == 1
