"""The API's HTTP server: waitress in a thread, with an orderly end that it lacks itself."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from waitress import wasyncore
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

from server.settings import Settings

logger = logging.getLogger(__name__)

CONNECTION_LIMIT = 512
SHED_ABOVE = 448  # so many are kept at most while some of them are silent
IDLE_CONNECTION_S = 60
MAX_HEADER_BYTES = 64 * 1024
RECEIVE_BYTES = 1 << 17  # at once: the loop looks at all connections between any two
OUTPUT_BUFFER_BYTES = 1 << 20  # beyond it a slow reader holds the writer back
STALLED_S = 120.0  # without a byte taken, while more than the buffer waits
SWEEP_S = 0.02
ERROR_CODES = {400: "invalid_request", 413: "upload_too_large", 431: "invalid_request"}


class ApiServer:
    """Serves a WSGI app on a bound socket; `drain` ends it without cutting an answer off."""

    def __init__(self, app: Callable[..., Any], bound: socket.socket, settings: Settings) -> None:
        self._server = create_server(
            app,
            sockets=[bound],
            threads=settings.waitress_threads,
            connection_limit=CONNECTION_LIMIT,
            channel_timeout=IDLE_CONNECTION_S,
            recv_bytes=RECEIVE_BYTES,
            channel_request_lookahead=1,  # else a client that left is noticed too late
            max_request_body_size=settings.max_upload_bytes,
            max_request_header_size=MAX_HEADER_BYTES,
            outbuf_high_watermark=OUTPUT_BUFFER_BYTES,
            asyncore_use_poll=True,  # select() ends the loop at file descriptor 1024
            expose_tracebacks=False,
            ident=None,
        )
        self._server.channel_class = _Channel
        self._thread = threading.Thread(target=self._server.run, name="api-loop", daemon=True)

    def start(self) -> None:
        """Serve from now on."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the loop runs."""
        return self._thread.is_alive()

    def drain(self, timeout_s: float) -> None:
        """Stop listening, let answers reach their clients for `timeout_s`, close the rest.

        waitress has no such thing: its `close` leaves its loop running and its sockets broken.
        """
        server = self._server
        deadline = time.monotonic() + timeout_s
        server.trigger.pull_trigger(lambda: wasyncore.dispatcher.close(server))  # keeps the trigger
        self._sweep(lambda channel: bool(channel.requests), deadline)
        self._sweep(lambda channel: channel.total_outbufs_len > 0, deadline)
        server.trigger.pull_trigger(self._close_channels)
        server.task_dispatcher.shutdown(timeout=2)
        with suppress(OSError):  # the loop may have closed it before it is written to
            server.trigger.pull_trigger(server.trigger.close)
        self._thread.join(3)
        if self._thread.is_alive():
            logger.warning("The API's loop did not end.")

    def _channels(self) -> list[Any]:
        return list(self._server.active_channels.values())

    def _sweep(self, is_busy: Callable[[Any], bool], deadline: float) -> None:
        while any(map(is_busy, self._channels())) and time.monotonic() < deadline:
            time.sleep(SWEEP_S)

    def _close_channels(self) -> None:
        for channel in self._channels():
            channel.will_close = True
            if channel.total_outbufs_len:  # its reader has stalled, and a thread waits for it
                channel.handle_close()


class _ErrorTask(ErrorTask):  # type: ignore[misc]
    """Answers what is no HTTP, or too large, in the shape of the app's own errors."""

    def execute(self) -> None:
        error = self.request.error
        request_id = uuid.uuid4().hex
        detail = {
            "message": error.body or error.reason,
            "type": "invalid_request" if error.code < 500 else "server",
            "code": ERROR_CODES.get(error.code, "internal_error"),
            "param": None,
            "retryable": False,
        }
        body = json.dumps({"error": detail, "request_id": request_id}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [
            ("Content-Type", "application/json"),
            ("X-Request-Id", request_id),
        ]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)
        logger.info("refused before it was read: %d %s", error.code, error.reason)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection; a new one closes a silent one where there are many.

    waitress alone stops listening at its limit until silent ones time out, so that a few hundred
    half-open connections would keep everybody else out.
    """

    error_task_class = _ErrorTask

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        channels = self.server.active_channels
        if len(channels) > SHED_ABOVE:
            silent = [c for c in channels.values() if c is not self and c.is_silent]
            if silent:
                min(silent, key=_expendable).handle_close()  # we are in the loop's thread

    def _flush_outbufs_below_high_watermark(self) -> None:
        """Wait for a slow reader; let go of one that has stalled, for whom waitress waits on."""
        since = time.time()
        with self.outbuf_lock:
            while self.connected and self.total_outbufs_len > self.adj.outbuf_high_watermark:
                left_s = max(since, self.last_activity) + STALLED_S - time.time()
                if left_s <= 0:
                    self.server.trigger.pull_trigger(self.handle_close)
                    raise ClientDisconnected
                self.server.pull_trigger()
                self.outbuf_lock.wait(left_s)

    @property
    def is_silent(self) -> bool:
        """Whether no request of this connection is being answered, and none of it waits."""
        return not self.requests and not self.total_outbufs_len


def _expendable(channel: Any) -> tuple[bool, float]:
    """Sorts silent connections: those in the midst of a body last, else the longest silent first.

    Only who sends whole headers counts as sending a body, so slow headers save nobody.
    """
    is_sending = channel.request is not None and channel.request.headers_finished
    return is_sending, channel.last_activity
