"""What all routes of one app share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flask import request

from rvc_core.token import Token
from server.errors import QueueFull
from server.services import Services

POLL_S = 0.1
RESERVED_THREADS = 16
STREAM_RETRY_S = 5


class DisconnectWatcher:
    """Cancels the tokens of requests whose client has gone; one thread for all of them."""

    def __init__(self, poll_s: float = POLL_S) -> None:
        self._poll_s = poll_s
        self._watched: dict[Token, Callable[[], bool]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watch(self, is_gone: Callable[[], bool] | None, token: Token) -> Iterator[None]:
        """For the time of the block, cancel `token` as soon as `is_gone` says so."""
        if is_gone is None:  # the WSGI server cannot tell
            yield
            return
        with self._changed:
            self._watched[token] = is_gone
            self._start()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._watched[token]

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._poll, name="disconnects", daemon=True)
            self._thread.start()

    def _poll(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._watched)
                watched = list(self._watched.items())
            for token, is_gone in watched:
                if is_gone():
                    token.cancel()
            time.sleep(self._poll_s)


class StreamSlots:
    """How many answers may be streams at once: each keeps a thread of the WSGI server to its end.

    The rest of the threads is for short requests, so slow readers cannot close the door.
    """

    def __init__(self, n_threads: int) -> None:
        self._most = max(1, n_threads - RESERVED_THREADS)
        self._lock = threading.Lock()
        self._taken = 0

    def take(self) -> None:
        """Take a slot; raise `QueueFull` where none is left. Give it back with `give_back`."""
        with self._lock:
            if self._taken >= self._most:
                raise QueueFull(
                    f"{self._taken} answers are being streamed already; try again later.",
                    retry_after_s=STREAM_RETRY_S,
                )
            self._taken += 1

    def give_back(self) -> None:
        """Let another stream begin."""
        with self._lock:
            self._taken -= 1


@dataclass(frozen=True)
class ApiContext:
    """What the routes of one app share; `started` is a reading of the monotonic clock."""

    services: Services
    streams: StreamSlots
    watcher: DisconnectWatcher = field(default_factory=DisconnectWatcher)
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def request_token(self, timeout_s: float) -> Iterator[Token]:
        """A token for the request at hand, cancelled when its client goes away."""
        token = Token(timeout_s)
        with self.watcher.watch(request.environ.get("waitress.client_disconnected"), token):
            yield token


def create_context(services: Services) -> ApiContext:
    """The context of an app over `services`."""
    return ApiContext(services, StreamSlots(services.settings.waitress_threads))
