"""What the door does with requests: keys, limits, records, ids."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from api_server import create_app
from server.keys import Key, digest_of
from server.limits import WRONG_KEYS
from server.services import Services
from tests.gpu.fakes import FakeClock
from tests.server.fakes import fake_services
from tests.server.scrapes import scrape

ADMIN = {"X-API-Key": "boss"}
ANNA = {"X-API-Key": "anna"}
TRACE = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


@dataclass
class House:
    """A client with what is behind it."""

    client: FlaskClient
    services: Services
    clock: FakeClock
    audit: Path

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit.read_text().splitlines()]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr("server.limits.monotonic", clock)
    return clock


@pytest.fixture
def house(fake_models: Path, tmp_path: Path, clock: FakeClock) -> Iterator[House]:
    anna = Key("anna", digest_of("anna"), frozenset({"use"}), rate=3, concurrency=1)
    audit = tmp_path / "audit.jsonl"
    services = fake_services(
        fake_models, api_keys=(Key("boss", digest_of("boss")), anna), audit_log=audit
    )
    app = create_app(services)
    yield House(app.test_client(), services, clock, audit)
    services.close()
    app.extensions["door"].close()


def test_a_key_may_send_so_many_requests_a_minute(house: House) -> None:
    for left in (2, 1, 0):
        with house.client.get("/api/v1/models", headers=ANNA) as answer:
            assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (200, str(left))
        house.clock.advance(10)
    refused = house.client.get("/info", headers=ANNA)
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (429, "rate_limited")
    assert refused.headers["Retry-After"] == "30"
    assert scrape(house.services)["voice_rejected_total{reason=rate}"] == 1
    refused.close()
    house.clock.advance(30)
    with house.client.get("/info", headers=ANNA) as answer:
        assert answer.status_code == 200


def test_others_and_probes_are_not_held_up_by_it(house: House) -> None:
    for _ in range(5):
        house.client.get("/api/v1/models", headers=ANNA).close()
    assert house.client.get("/api/v1/models", headers=ADMIN).status_code == 200
    for path in ("/health", "/openapi.json"):
        assert house.client.get(path, headers=ANNA).status_code == 200


def test_without_keys_each_address_has_the_common_rate(fake_models: Path, clock: FakeClock) -> None:
    services = fake_services(fake_models, rate_limit_rpm=1)
    client = create_app(services).test_client()
    first, second = ({"REMOTE_ADDR": f"10.0.0.{n}"} for n in (1, 2))
    statuses = [client.get("/info", environ_base=a).status_code for a in (first, first, second)]
    assert statuses == [200, 429, 200]
    services.close()


def test_a_key_has_so_many_requests_at_once(house: House) -> None:
    answer = house.client.get("/api/v1/models", headers=ANNA)  # not closed: still being sent
    refused = house.client.get("/api/v1/models", headers=ANNA)
    assert refused.get_json()["error"]["code"] == "too_many_at_once"
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    answer.close()
    with house.client.get("/api/v1/models", headers=ANNA) as third:
        assert third.status_code == 200


def test_an_address_that_tries_keys_is_told_to_wait_but_right_keys_are_let_in(
    house: House,
) -> None:
    for _ in range(WRONG_KEYS):
        assert house.client.get("/info", headers={"X-API-Key": "x"}).status_code == 401
    refused = house.client.get("/info", headers={"X-API-Key": "x"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (401, "60")
    assert house.client.get("/info", headers=ADMIN).status_code == 200
    assert house.client.get("/info").status_code == 401  # no key is no try


def test_administration_and_refused_keys_are_recorded(house: House) -> None:
    house.client.post("/api/v1/gpu/offload", headers=ADMIN, json={"model": "anna", "timeout_s": 1})
    house.client.get("/info", headers={"X-API-Key": "x"})
    house.client.post("/api/v1/gpu/release", headers=ANNA).close()
    house.client.get("/info", headers=ADMIN)
    done, wrong, forbidden = house.records()
    assert (done["caller"], done["route"], done["status"]) == ("boss", "/api/v1/gpu/offload", 200)
    assert (done["address"], done["method"]) == ("127.0.0.1", "POST")
    assert done["concerns"] == {"model": "anna", "timeout_s": 1}
    assert (wrong["caller"], wrong["status"]) == (None, 401)
    assert (forbidden["caller"], forbidden["status"]) == ("anna", 403)


def test_keys_are_in_no_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = "very-secret-key"
    headers = {"X-API-Key": key, "Authorization": f"Bearer {key}"}
    for path in ("/api/v1/models", "/health", "/nowhere", "/api/v1/gpu/settings"):
        house.client.get(f"{path}?api_key={key}", headers=headers).close()
    house.client.patch("/api/v1/gpu/settings", headers=ADMIN, json={"api_key": key}).close()
    assert key not in caplog.text
    assert key not in house.audit.read_text()


@pytest.mark.parametrize("evil", ["/a%0Ab", "/a%0D%0Ab", "/%1b[2J", "/%E2%80%A8x"])
def test_paths_and_ids_cannot_break_a_log_line(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, evil: str
) -> None:
    caplog.set_level(logging.INFO)
    answer = client.get(evil, headers={"X-Request-Id": "a b", "traceparent": "x y"})
    (record,) = [r for r in caplog.records if r.name.startswith("server.api")]
    assert len(record.getMessage().splitlines()) == 1
    assert "a b" not in answer.headers["X-Request-Id"]
    assert "traceparent" not in answer.headers


def test_a_trace_is_passed_through(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    answer = client.get("/info", headers={"traceparent": TRACE})
    assert answer.headers["traceparent"] == TRACE
    (record,) = [r for r in caplog.records if r.name.startswith("server.api")]
    assert record.getMessage().endswith(f"traceparent={TRACE}")


def test_metrics_can_be_open(fake_models: Path) -> None:
    for is_open, status in ((True, 200), (False, 401)):
        services = fake_services(fake_models, api_key="k", metrics_public=is_open)
        assert create_app(services).test_client().get("/metrics").status_code == status
        services.close()


def test_requests_are_counted_by_route_and_strange_ones_together(
    services: Services, client: FlaskClient
) -> None:
    for path in ("/api/v1/models", "/nowhere/1", "/nowhere/2"):
        client.get(path).close()
    client.open("/info", method="BREW").close()
    figures = scrape(services)
    count = "voice_http_requests_total{method=%s,route=%s,status=%s}"
    assert figures[count % ("GET", "/api/v1/models", "200")] == 1
    assert figures[count % ("GET", "other", "404")] == 2
    assert figures[count % ("other", "other", "405")] == 1
    assert figures["voice_inflight{route=/api/v1/models}"] == 0
    assert figures["voice_http_request_seconds_count{route=/api/v1/models}"] == 1


def test_a_request_is_in_flight_until_its_answer_is_out(
    services: Services, client: FlaskClient
) -> None:
    answer = client.get("/api/v1/models")
    assert scrape(services)["voice_inflight{route=/api/v1/models}"] == 1
    answer.close()
    assert scrape(services)["voice_inflight{route=/api/v1/models}"] == 0


def test_a_full_house_is_refused_before_the_body_is_read(
    fake_models: Path, recording: bytes
) -> None:
    services = fake_services(fake_models, max_queue_per_gpu=0, concurrent_conversions=1)
    client = create_app(services).test_client()
    trace = {"X-Request-Id": "r-1", "traceparent": TRACE}
    with services.reserve():
        body = io.BytesIO(recording)
        answer = client.post("/api/v1/convert", headers=trace, data=body, content_type="audio/x")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (503, "queue_full")
    assert answer.get_json()["request_id"] == answer.headers["X-Request-Id"] == "r-1"
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["traceparent"] == TRACE
    figures = scrape(services)
    assert figures["voice_rejected_total{reason=queue_full}"] == 1
    assert client.post("/api/v1/convert").status_code == 400  # room again
    services.close()
