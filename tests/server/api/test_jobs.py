"""/api/v1/jobs, as callers see it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api_server import create_app
from rvc_core.errors import InvalidAudio
from server.keys import ADMIN, USE, Key, digest_of
from server.services import Services
from tests.server.fakes import engine_of, fake_services
from tests.server.jobs.asking import PATIENCE_S, at_work, failing

JOBS = "/api/v1/jobs"


@pytest.fixture
def client(services: Services) -> FlaskClient:
    services.warm_up()
    return create_app(services).test_client()


def start(client: FlaskClient, recording: bytes, **more: Any) -> TestResponse:
    """Ask for a job of one conversion."""
    headers = more.pop("headers", {})
    data = {"type": "convert", "audio": (io.BytesIO(recording), "x.wav"), **more}
    return client.post(JOBS, data=data, headers=headers)


def wait_for(client: FlaskClient, answer: TestResponse, **more: Any) -> dict[str, Any]:
    """The job, once it has ended."""
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = client.get(answer.headers["Location"] + "?wait=10", **more).get_json()
    return job


def test_a_job_is_taken_done_and_fetched(client: FlaskClient, recording: bytes) -> None:
    answer = start(client, recording, model="anna", f0_up_key="2")
    assert answer.status_code == 202
    taken = answer.get_json()
    assert answer.headers["Location"] == f"{JOBS}/{taken['id']}" == taken["links"]["self"]
    assert (taken["state"], taken["type"]) == ("queued", "convert")
    assert taken["items"][0]["options"]["f0_up_key"] == 2
    done = wait_for(client, answer)
    assert (done["state"], done["progress"], done["attempt"]) == ("succeeded", 1.0, 1)
    assert done["result"]["facts"]["model"] == "anna"
    assert done["expires_at"] == pytest.approx(done["finished_at"] + 24 * 3600)
    with client.get(done["links"]["result"]) as result:
        assert (result.mimetype, len(result.data)) == ("audio/wav", done["result"]["bytes"])
        assert result.data.startswith(b"RIFF")


def test_a_job_in_json(client: FlaskClient, recording: bytes) -> None:
    params = {"audio_base64": base64.b64encode(recording).decode(), "response_format": "flac"}
    done = wait_for(client, client.post(JOBS, json={"type": "convert", "params": params}))
    with client.get(done["links"]["result"]) as result:
        assert (result.mimetype, result.data[:4]) == ("audio/flac", b"fLaC")


def test_a_conversion_becomes_a_job_on_request(client: FlaskClient, recording: bytes) -> None:
    data = {"audio": (io.BytesIO(recording), "x.wav")}
    answer = client.post("/api/v1/convert?async=1", data=data)
    assert answer.status_code == 202
    assert wait_for(client, answer)["state"] == "succeeded"


def test_async_0_is_no_job(client: FlaskClient, recording: bytes) -> None:
    data = {"audio": (io.BytesIO(recording), "x.wav")}
    assert client.post("/api/v1/convert?async=0", data=data).mimetype == "audio/wav"


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"type": "tts"}, 400, "type"),
        ({"f0_up_key": "x"}, 400, "f0_up_key"),
        ({"nonsense": "1"}, 400, "nonsense"),
        ({"model": "nobody"}, 404, "model"),
        ({"webhook_url": "https://example.org/"}, 403, "webhook_url"),
        ({"audio_url": "https://example.org/"}, 400, "audio"),
    ],
)
def test_what_is_wrong_is_said_at_once(
    client: FlaskClient, recording: bytes, fields: dict[str, str], status: int, param: str
) -> None:
    answer = start(client, recording, **fields)
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (status, param)
    assert client.get(JOBS).get_json()["jobs"] == []


def test_a_result_that_is_not_there_yet(client: FlaskClient, recording: bytes) -> None:
    services = client.application.extensions["services"]
    with at_work(services) as (begun, _):
        job = start(client, recording).get_json()
        assert begun.wait(PATIENCE_S)
        answer = client.get(job["links"]["result"])
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (409, "job_not_finished")
        assert client.get(job["links"]["self"]).get_json()["state"] == "running"


def test_a_failed_job_says_why_and_has_no_result(client: FlaskClient, recording: bytes) -> None:
    services = client.application.extensions["services"]
    engine_of(services).during_convert = failing(InvalidAudio("Not that.", param="audio"))
    job = wait_for(client, start(client, recording))
    assert (job["state"], job["error"]["code"]) == ("failed", "invalid_audio")
    answer = client.get(job["links"]["result"])
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"]) == (409, "job_failed")
    assert "invalid_audio, Not that." in error["message"]


def test_a_failed_job_is_started_again(client: FlaskClient, recording: bytes) -> None:
    services = client.application.extensions["services"]
    engine_of(services).during_convert = failing(InvalidAudio("Not that."))
    job = wait_for(client, start(client, recording))
    again = client.post(job["links"]["retry"])
    assert (again.status_code, again.get_json()["state"]) == (202, "queued")
    assert wait_for(client, again)["attempt"] == 2


def test_a_running_job_is_cancelled_and_then_deleted(client: FlaskClient, recording: bytes) -> None:
    services = client.application.extensions["services"]
    with at_work(services) as (begun, _):
        job = start(client, recording).get_json()
        assert begun.wait(PATIENCE_S)
        address = job["links"]["self"]
        cancelled = client.post(f"{address}/cancel")
        assert (cancelled.status_code, cancelled.get_json()["state"]) == (200, "cancelled")
        assert services.jobs.wait_idle(PATIENCE_S)
    result = client.get(job["links"]["result"])
    assert (result.status_code, result.get_json()["error"]["code"]) == (409, "job_cancelled")
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404
    assert list((services.settings.models_dir / "jobs.files").glob(job["id"])) == []


def test_a_running_job_ends_when_it_is_deleted(client: FlaskClient, recording: bytes) -> None:
    services = client.application.extensions["services"]
    with at_work(services) as (begun, _):
        job = start(client, recording).get_json()
        assert begun.wait(PATIENCE_S)
        assert client.delete(job["links"]["self"]).status_code == 204
        assert services.jobs.wait_idle(0)
    assert client.get(job["links"]["self"]).status_code == 404
    assert list((services.settings.models_dir / "jobs.files").glob(job["id"])) == []


def test_cancelling_a_job_that_has_ended_changes_nothing(
    client: FlaskClient, recording: bytes
) -> None:
    job = wait_for(client, start(client, recording))
    assert client.post(f"{job['links']['self']}/cancel").get_json()["state"] == "succeeded"


def test_an_expired_job_says_so(fake_models: Path, recording: bytes) -> None:
    services = fake_services(fake_models, job_retention_hours=0.0)
    services.warm_up()
    client = create_app(services).test_client()
    job = wait_for(client, start(client, recording))
    assert services.jobs.wait_idle(PATIENCE_S)
    services.jobs.keep_house()
    answer = client.get(job["links"]["result"])
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (410, "job_expired")
    assert client.get(job["links"]["self"]).get_json()["state"] == "expired"
    services.close()


def test_the_same_request_is_the_same_job(client: FlaskClient, recording: bytes) -> None:
    key = {"Idempotency-Key": "mine"}
    first, again = start(client, recording, headers=key), start(client, recording, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.get_json()["id"] == again.get_json()["id"]
    other = start(client, recording, headers=key, f0_up_key="1")
    assert (other.status_code, other.get_json()["error"]["code"]) == (409, "idempotency_conflict")


def test_another_recording_is_another_request(client: FlaskClient, recording: bytes) -> None:
    key = {"Idempotency-Key": "mine"}
    start(client, recording, headers=key)
    assert start(client, recording + b"\0", headers=key).status_code == 409


@pytest.mark.parametrize("text", ["", "x" * 256, "a\tb"])
def test_a_strange_idempotency_key_is_refused(
    client: FlaskClient, recording: bytes, text: str
) -> None:
    answer = start(client, recording, headers={"Idempotency-Key": text})
    assert answer.get_json()["error"]["param"] == "Idempotency-Key"


def test_jobs_are_listed_page_by_page(client: FlaskClient, recording: bytes) -> None:
    ids = [wait_for(client, start(client, recording))["id"] for _ in range(3)]
    first = client.get(f"{JOBS}?limit=2").get_json()
    assert [job["id"] for job in first["jobs"]] == ids[:0:-1]
    second = client.get(f"{JOBS}?limit=2&before={first['before']}").get_json()
    assert ([job["id"] for job in second["jobs"]], second["before"]) == ([ids[0]], None)
    assert client.get(f"{JOBS}?state=failed").get_json()["jobs"] == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "limit=1.5", "state=lost", "limit=nan"]
)
def test_a_query_that_makes_no_sense_is_refused(client: FlaskClient, query: str) -> None:
    answer = client.get(f"{JOBS}?{query}")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (400, "invalid_option")


@pytest.mark.parametrize("wait", ["-1", "31", "x", "nan"])
def test_waiting_has_bounds(client: FlaskClient, recording: bytes, wait: str) -> None:
    job = start(client, recording).get_json()
    answer = client.get(f"{job['links']['self']}?wait={wait}")
    assert answer.get_json()["error"]["param"] == "wait"


def test_waiting_ends_with_the_time_given(client: FlaskClient, recording: bytes) -> None:
    services = client.application.extensions["services"]
    with at_work(services):
        job = start(client, recording).get_json()
        answer = client.get(f"{job['links']['self']}?wait=0.05")
        assert answer.get_json()["state"] in ("queued", "running")


@pytest.mark.parametrize("path", ["", "/result", "/events"])
def test_there_is_no_job_of_an_unknown_id(client: FlaskClient, path: str) -> None:
    answer = client.get(f"{JOBS}/nobody{path}")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (404, "job_not_found")


@pytest.fixture
def keyed(fake_models: Path) -> Iterator[FlaskClient]:
    roles = {"ann": frozenset({USE}), "bob": frozenset({USE}), "root": frozenset({USE, ADMIN})}
    keys = tuple(Key(name, digest_of(name), own) for name, own in roles.items())
    services = fake_services(fake_models, api_keys=keys, job_queued_per_key=1)
    yield create_app(services).test_client()
    services.close()


def test_the_jobs_of_others_are_not_there(keyed: FlaskClient, recording: bytes) -> None:
    job = start(keyed, recording, headers={"X-API-Key": "ann"}).get_json()
    theirs = {"X-API-Key": "bob"}
    address = job["links"]["self"]
    for method, path in [("GET", ""), ("GET", "/result"), ("GET", "/events"), ("DELETE", "")]:
        assert keyed.open(address + path, method=method, headers=theirs).status_code == 404
    for verb in ("retry", "cancel"):
        assert keyed.post(f"{address}/{verb}", headers=theirs).status_code == 404
    assert keyed.get(f"{JOBS}?before={job['id']}", headers=theirs).status_code == 404
    assert keyed.get(JOBS, headers=theirs).get_json()["jobs"] == []
    assert keyed.get(address, headers={"X-API-Key": "ann"}).get_json()["key"] == "ann"


def test_administrators_see_all_jobs(keyed: FlaskClient, recording: bytes) -> None:
    job = start(keyed, recording, headers={"X-API-Key": "ann"}).get_json()
    listed = keyed.get(JOBS, headers={"X-API-Key": "root"}).get_json()["jobs"]
    assert [one["id"] for one in listed] == [job["id"]]
    assert keyed.delete(job["links"]["self"], headers={"X-API-Key": "root"}).status_code == 204


def test_a_key_is_told_when_its_line_is_full(keyed: FlaskClient, recording: bytes) -> None:
    assert start(keyed, recording, headers={"X-API-Key": "ann"}).status_code == 202
    full = start(keyed, recording, headers={"X-API-Key": "ann"})
    assert (full.status_code, full.get_json()["error"]["code"]) == (429, "too_many_jobs")
    assert int(full.headers["Retry-After"]) >= 1
    assert start(keyed, recording, headers={"X-API-Key": "bob"}).status_code == 202


def test_a_full_disk_is_told_and_leaves_nothing(fake_models: Path, recording: bytes) -> None:
    services = fake_services(fake_models, job_disk_mb=0)
    answer = start(create_app(services).test_client(), recording)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (507, "disk_quota_exceeded")
    assert [p.name for p in (fake_models / "jobs.files").iterdir()] == ["staging"]
    services.close()


def test_a_json_job_keeps_its_parameters_inside(client: FlaskClient) -> None:
    answer = client.post(JOBS, json={"type": "convert", "model": "anna", "params": {}})
    assert answer.get_json()["error"]["param"] == "model"
    answer = client.post(JOBS, data=json.dumps([1]), content_type="application/json")
    assert answer.status_code == 400
