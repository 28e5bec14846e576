"""What all routes of one app share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rvc_core.token import Token
from server.services import Services

POLL_S = 0.1


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


@dataclass(frozen=True)
class ApiContext:
    """The services, and when the app was made (reading of the monotonic clock)."""

    services: Services
    watcher: DisconnectWatcher = field(default_factory=DisconnectWatcher)
    started: float = field(default_factory=time.monotonic)
