"""Callers are told of the end of their jobs over real HTTP on loopback."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from server.errors import AddressRefused, FeatureDisabled
from server.fetch_policy import FetchPolicy
from server.jobs.records import Delivery, Fault
from server.jobs.room import Room
from server.jobs.webhooks import FIRST_DELAY_S, LEASE_S, MOST_ATTEMPTS, Webhooks, sign
from server.services import Services
from tests.gpu.fakes import FakeClock, until
from tests.server.fakes import fake_services
from tests.server.jobs.asking import ended, submit
from tests.server.jobs.rooms import order, room_at, run_next, ticket

SECRET = "s3cret"
LOOPBACK = FetchPolicy(allow_http=True, allow_private=True)
Bench = tuple[Room, FakeClock]


@dataclass
class Listener:
    """Hears webhooks and answers them with `status`."""

    url: str = ""
    status: int = 200
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Listener]:
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            listener.heard.append((dict(self.headers), body))
            self.send_response(listener.status)
            self.end_headers()

        def log_message(self, format: str, *given: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        listener.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield listener
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as one:
        yield one


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with room_at(tmp_path) as opened:
        yield opened


def webhooks(bench: Bench, policy: FetchPolicy = LOOPBACK) -> Webhooks:
    room, clock = bench
    return Webhooks(room.database, policy, SECRET, lambda job: {"id": job.id}, clock)


def end_a_job(room: Room, url: str, job_id: str = "a") -> None:
    with room.files.staged(job_id, [b"x"]) as place:
        room.store.add(job_id, order(webhook_url=url), ticket(), 1, place)
    room.store.fail(run_next(room), Fault("invalid_audio", "No."))


def delivery(room: Room) -> Delivery:
    found = room.store.get("a").delivery
    assert found is not None
    return found


def test_a_webhook_is_signed(bench: Bench, listener: Listener) -> None:
    end_a_job(bench[0], listener.url)
    assert webhooks(bench).deliver_due() == 1
    ((headers, body),) = listener.heard
    assert json.loads(body) == {"id": "a"}
    assert headers["X-Timestamp"] == str(int(bench[1]()))
    expected = sign(SECRET.encode(), headers["X-Timestamp"], body)
    assert headers["X-Signature"] == f"sha256={expected}"
    assert delivery(bench[0]) == Delivery("delivered", 1, None, None)


def test_the_signature_is_hmac_sha256_of_timestamp_dot_body() -> None:
    expected = hmac.digest(b"key", b"1.body", hashlib.sha256).hex()
    assert sign(b"key", "1", b"body") == expected


def test_a_delivered_webhook_is_not_sent_again(bench: Bench, listener: Listener) -> None:
    end_a_job(bench[0], listener.url)
    sender = webhooks(bench)
    sender.deliver_due()
    bench[1].advance(1e6)
    assert sender.deliver_due() == 0
    assert len(listener.heard) == 1


def test_attempts_are_further_and_further_apart_and_end(bench: Bench, listener: Listener) -> None:
    room, clock = bench
    listener.status = 500
    end_a_job(room, listener.url)
    sender, waits = webhooks(bench), []
    while sender.deliver_due():
        found = delivery(room)
        if found.next_at is not None:
            waits.append(found.next_at - clock())
            clock.advance(waits[-1])
    assert waits == [FIRST_DELAY_S * 2**n for n in range(MOST_ATTEMPTS - 1)]
    assert len(listener.heard) == MOST_ATTEMPTS
    assert delivery(room) == Delivery("failed", MOST_ATTEMPTS, None, "It was answered 500.")


def test_redirects_are_not_followed(bench: Bench, listener: Listener) -> None:
    listener.status = 302
    end_a_job(bench[0], listener.url)
    webhooks(bench).deliver_due()
    assert delivery(bench[0]).error == "It was answered 302."


def test_nobody_there_is_a_reason_to_try_again(bench: Bench) -> None:
    with listening() as gone:
        pass
    end_a_job(bench[0], gone.url)
    webhooks(bench).deliver_due()
    found = delivery(bench[0])
    assert (found.state, found.attempts) == ("pending", 1)
    assert found.error


def test_the_address_is_judged_again_when_it_is_called(bench: Bench, listener: Listener) -> None:
    end_a_job(bench[0], listener.url)
    webhooks(bench, FetchPolicy(allow_http=True)).deliver_due()
    assert listener.heard == []
    assert "not on the public network" in (delivery(bench[0]).error or "")


def test_attempts_go_on_after_a_restart(tmp_path: Path, listener: Listener) -> None:
    with room_at(tmp_path) as bench:
        end_a_job(bench[0], listener.url)
    with room_at(tmp_path) as bench:
        assert webhooks(bench).deliver_due() == 1
    assert len(listener.heard) == 1


def test_an_attempt_that_was_cut_off_is_made_again(bench: Bench, listener: Listener) -> None:
    room, clock = bench
    end_a_job(room, listener.url)
    assert webhooks(bench)._lease("a") is not None  # and then the server died
    sender = webhooks(bench)
    assert sender.deliver_due() == 0
    clock.advance(LEASE_S)
    assert sender.deliver_due() == 1
    assert delivery(room).attempts == 2


def test_a_job_that_starts_again_has_nothing_to_tell_yet(bench: Bench, listener: Listener) -> None:
    end_a_job(bench[0], listener.url)
    bench[0].store.retry("a")
    assert webhooks(bench).deliver_due() == 0


def test_webhooks_are_off_unless_they_can_be_signed(services: Services, recording: bytes) -> None:
    with pytest.raises(FeatureDisabled):
        submit(services, recording, webhook_url="https://example.org/")


def test_an_address_within_is_refused_when_the_job_comes(
    fake_models: Path, recording: bytes
) -> None:
    services = fake_services(fake_models, enable_webhooks=True, webhook_secret=SECRET)
    with pytest.raises(AddressRefused):
        submit(services, recording, webhook_url="https://127.0.0.1/")
    services.close()


def test_a_server_tells_of_jobs_as_they_end(
    fake_models: Path, recording: bytes, listener: Listener
) -> None:
    settings = {"enable_webhooks": True, "webhook_http": True, "webhook_private": True}
    services = fake_services(fake_models, webhook_secret=SECRET, **settings)
    services.jobs.describe_with(lambda job: {"id": job.id, "state": job.state.value})
    services.warm_up()
    job = ended(services, submit(services, recording, webhook_url=listener.url))
    until(lambda: bool(listener.heard))
    assert json.loads(listener.heard[0][1]) == {"id": job.id, "state": "succeeded"}
    services.close()
