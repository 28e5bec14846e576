from __future__ import annotations

import io
import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api_server import create_app
from server.api.context import create_context
from server.api.job_events import HEARTBEAT_S, answer_events, stream
from server.errors import QueueFull
from server.jobs.records import Job, State
from server.services import Services
from tests.gpu.fakes import FakeClock, in_thread
from tests.server.jobs.asking import PATIENCE_S, at_work, ended, submit

Event = dict[str, str]


@pytest.fixture
def warm(services: Services) -> Services:
    services.warm_up()
    return services


def parse(text: str) -> list[Event]:
    """The events in a stream, by their fields."""
    blocks = [block for block in text.split("\n\n") if block.startswith("id:")]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


def events(services: Services, job: Job, seen: str | None = None) -> list[Event]:
    return parse("".join(stream(services.jobs, job, seen)))


def test_the_stream_tells_of_states_and_steps_and_ends_with_the_job(
    warm: Services, recording: bytes
) -> None:
    found: list[Event] = []
    with at_work(warm) as (begun, go_on):
        job = submit(warm, recording, n_items=2)
        assert begun.wait(PATIENCE_S)
        reader = in_thread(lambda: found.extend(events(warm, job)))
        go_on.set()
        ended(warm, job)
        reader.join(PATIENCE_S)
    states = [json.loads(event["data"])["state"] for event in found]
    assert (states[0], states[-1]) == ("running", "succeeded")
    assert found[-1]["event"] == "state"
    shares = [json.loads(event["data"])["progress"] for event in found]
    assert shares == sorted(shares)


def test_what_was_seen_is_not_told_again(warm: Services, recording: bytes) -> None:
    job = ended(warm, submit(warm, recording))
    (last,) = events(warm, job)
    assert events(warm, job, last["id"]) == []


def test_the_stream_of_a_deleted_job_ends(warm: Services, recording: bytes) -> None:
    with at_work(warm) as (begun, _):
        job = submit(warm, recording)
        assert begun.wait(PATIENCE_S)
        reading = stream(warm.jobs, job, None)
        assert next(reading).startswith("retry: ")
        assert parse(next(reading))
        warm.jobs.cancel(job)
        warm.jobs.delete(job)
        assert list(reading) == []


def test_a_quiet_stream_beats(services: Services, recording: bytes) -> None:
    job, clock = submit(services, recording), FakeClock()
    reading = stream(services.jobs, job, None, clock)
    next(reading)
    next(reading)
    clock.advance(HEARTBEAT_S)
    services.jobs.changes.tell(job.id)
    assert next(reading) == ": heartbeat\n\n"


def test_the_stream_ends_when_the_server_stops(services: Services, recording: bytes) -> None:
    job = submit(services, recording)
    reading = stream(services.jobs, job, None)
    next(reading)
    next(reading)
    services.jobs.changes.close()
    assert list(reading) == []


def test_the_answer_is_a_stream_of_events(warm: Services, recording: bytes) -> None:
    job = ended(warm, submit(warm, recording))
    answer = client_of(warm).get(f"/api/v1/jobs/{job.id}/events")
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Cache-Control"] == "no-store"
    (event,) = parse(answer.text)
    again = client_of(warm).get(
        f"/api/v1/jobs/{job.id}/events", headers={"Last-Event-ID": event["id"]}
    )
    assert (again.status_code, again.data) == (204, b"")


def client_of(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def test_streams_and_waits_hold_places_for_streams(services: Services, recording: bytes) -> None:
    """One that is left takes a place; one that has ended gave it back."""
    job = submit(services, recording)
    context = create_context(services)
    free = services.settings.waitress_threads - 16
    with Flask(__name__).test_request_context("/"):
        answers: list[Any] = [answer_events(context, job) for _ in range(free)]
        with pytest.raises(QueueFull):
            answer_events(context, job)
        answers.pop().close()
        answers.append(answer_events(context, job))
    for answer in answers:
        answer.close()


def test_waiting_takes_a_place_too(
    services: Services, recording: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object) -> None:
        raise QueueFull("Full.", retry_after_s=5)

    client = client_of(services)
    data = {"type": "convert", "audio": (io.BytesIO(recording), "x.wav")}
    job = client.post("/api/v1/jobs", data=data).get_json()
    monkeypatch.setattr("server.api.context.StreamSlots.take", refuse)
    answer = client.get(job["links"]["self"] + "?wait=1")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert client.get(job["links"]["self"]).get_json()["state"] == State.QUEUED.value
