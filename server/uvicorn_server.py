"""The browser UI's HTTP server: uvicorn in a thread."""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp

logger = logging.getLogger(__name__)

GRACE_S = 3  # for requests that run when the server stops
MAX_CONNECTIONS = 200
POLL_S = 0.02


class UiServer:
    """Serves an ASGI app on a bound socket."""

    def __init__(self, app: ASGIApp, bound: socket.socket) -> None:
        import uvicorn

        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_S,
        )
        self._bound = bound
        self._server: Any = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="ui-loop", daemon=True)

    def start(self) -> None:
        """Serve; returns once connections are taken, or the server has failed to start."""
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(POLL_S)

    @property
    def is_alive(self) -> bool:
        """Whether the server runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Refuse new requests, let running ones end for `GRACE_S`, then end."""
        self._server.should_exit = True
        self._thread.join(GRACE_S + 2)
        self._bound.close()

    def _run(self) -> None:
        try:
            self._server.run([self._bound])
        except SystemExit:  # uvicorn's way to say that the app did not start; it logged why
            logger.error("The UI server did not start.")
