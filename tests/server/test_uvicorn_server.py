from __future__ import annotations

import asyncio
import threading
from typing import Any

import requests

from server.sockets import bind, url_of
from server.uvicorn_server import UiServer

PATIENCE_S = 10.0


class App:
    """An ASGI app whose answer waits for `go_on`."""

    def __init__(self, fails_at_start: bool = False) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self._fails_at_start = fails_at_start

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            kind = "failed" if self._fails_at_start else "complete"
            await send({"type": f"lifespan.startup.{kind}"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.begun.set()
        while not self.go_on.is_set():
            await asyncio.sleep(0.005)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


def test_what_runs_when_it_stops_is_answered() -> None:
    app, bound = App(), bind("127.0.0.1", 0, "UI_PORT")
    server = UiServer(app, bound)
    server.start()
    answers: list[requests.Response] = []
    client = threading.Thread(target=lambda: answers.append(requests.get(url_of(bound), timeout=9)))
    client.start()
    assert app.begun.wait(PATIENCE_S)
    stop = threading.Thread(target=server.stop)
    stop.start()
    app.go_on.set()
    for thread in (client, stop):
        thread.join(PATIENCE_S)
    assert answers[0].text == "done"
    assert "server" not in answers[0].headers
    assert not server.is_alive


def test_a_server_that_cannot_start_is_seen_to_be_dead() -> None:
    server = UiServer(App(fails_at_start=True), bind("127.0.0.1", 0, "UI_PORT"))
    server.start()
    server.stop()
    assert not server.is_alive
