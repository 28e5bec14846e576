from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import requests

from server.settings import Settings
from server.sockets import bind, port_of
from server.waitress_server import ApiServer

PATIENCE_S = 10.0


class SlowApp:
    """A WSGI app that answers "/slow" when told to."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.is_gone: Callable[[], bool] = lambda: False

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            self.is_gone = environ["waitress.client_disconnected"]
            self.begun.set()
            assert self.go_on.wait(PATIENCE_S)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "100000")])
        return [b"x" * 100_000]


@pytest.fixture
def app() -> Iterator[SlowApp]:
    app = SlowApp()
    yield app
    app.go_on.set()


@pytest.fixture
def port(app: SlowApp) -> Iterator[int]:
    bound = bind("127.0.0.1", 0, "API_PORT")
    server = ApiServer(app, bound, Settings(max_upload_mb=1, waitress_threads=4))
    server.start()
    port = port_of(bound)
    yield port
    app.go_on.set()
    server.drain(PATIENCE_S)


def test_a_drain_delivers_what_is_being_answered_and_leaves_nothing(
    app: SlowApp, caplog: pytest.LogCaptureFixture
) -> None:
    bound = bind("127.0.0.1", 0, "API_PORT")
    server = ApiServer(app, bound, Settings(waitress_threads=4))
    url = f"http://127.0.0.1:{port_of(bound)}"
    threads_before = threading.active_count()
    server.start()
    answers: list[requests.Response] = []
    client = threading.Thread(target=lambda: answers.append(requests.get(f"{url}/slow", timeout=9)))
    client.start()
    assert app.begun.wait(PATIENCE_S)
    drain = threading.Thread(target=server.drain, args=(PATIENCE_S,))
    drain.start()
    with pytest.raises(requests.ConnectionError):
        for _ in range(1000):  # the loop stops listening at its next turn
            requests.get(url, timeout=9)
    app.go_on.set()
    for thread in (client, drain):
        thread.join(PATIENCE_S)
    assert answers[0].content == b"x" * 100_000
    assert not server.is_alive
    assert threading.active_count() <= threads_before
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_a_drain_gives_up_on_an_answer_that_does_not_come(app: SlowApp) -> None:
    bound = bind("127.0.0.1", 0, "API_PORT")
    server = ApiServer(app, bound, Settings(waitress_threads=4))
    server.start()
    with socket.create_connection(("127.0.0.1", port_of(bound))) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.begun.wait(PATIENCE_S)
        server.drain(0.05)
        app.go_on.set()
        assert client.recv(10) == b""


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n", 413, "upload_too_large"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400, "invalid_request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000 + b"\r\n\r\n", 431, "invalid_request"),
    ],
)
def test_what_waitress_refuses_itself_has_the_body_of_our_errors(
    port: int, head: bytes, status: int, code: str
) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
        client.sendall(head)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        body = json.loads(answer.read())
    assert answer.status == status
    assert body["error"]["code"] == code
    assert body["request_id"] == answer.headers["X-Request-Id"]


def test_a_client_that_leaves_is_noticed_while_its_request_runs(app: SlowApp, port: int) -> None:
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    assert app.begun.wait(PATIENCE_S)
    assert not app.is_gone()
    client.close()
    for _ in range(1000):
        if app.is_gone():
            break
        threading.Event().wait(0.005)
    assert app.is_gone()


def test_work_and_uploads_outlive_a_crowd_of_silent_connections(
    app: SlowApp, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.waitress_server.SHED_ABOVE", 5)
    worker, uploader = (socket.create_connection(("127.0.0.1", port), 10) for _ in range(2))
    worker.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    uploader.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
    assert app.begun.wait(PATIENCE_S)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    assert requests.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S).status_code == 200
    silent[0].settimeout(PATIENCE_S)
    assert silent[0].recv(1) == b""  # the longest silent one was closed
    app.go_on.set()
    uploader.sendall(b"b")
    for client in (worker, uploader):
        assert client.recv(12) == b"HTTP/1.1 200"
        client.close()
    for client in silent:
        client.close()


def test_hundreds_of_idle_connections_do_not_stop_it(app: SlowApp, port: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    answer = requests.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S)
    for client in idle:
        client.close()
    assert answer.status_code == 200
