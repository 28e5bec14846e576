"""Answers that begin before they are finished; no HTTP.

A conversion writes into a spool, so it never waits for a slow reader and soon frees its device.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING

from rvc_core.errors import EmptyAudio
from rvc_core.token import Token
from server.logs import logging_as
from server.records import ConvertRequest, ConvertResult, ResultPart
from server.stream_metrics import StreamMetrics

if TYPE_CHECKING:
    from rvc_core.encoders import Encoder

logger = logging.getLogger(__name__)

MEMORY_BYTES = 4 << 20  # of a spool; what is beyond lies in a temporary file
READ_BYTES = 64 << 10

Convert = Callable[[Callable[[ResultPart], None]], ConvertResult]


class StreamBroken(Exception):
    """Raised amid an answer, so that it ends without its end and the client sees that."""


class Spool:
    """Bytes on their way from one thread to another, as many as there are."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._file = tempfile.SpooledTemporaryFile(memory_bytes)  # noqa: SIM115 - see `close`
        self._changed = threading.Condition()
        self._written = self._read = 0
        self._ended = False
        self._error: BaseException | None = None

    def write(self, data: bytes) -> None:
        """Put bytes behind those that are there."""
        with self._changed:
            if not self._file.closed:
                self._file.seek(self._written)
                self._file.write(data)
                self._written += len(data)
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will come, because of `error` if there is one."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def wait_first(self) -> None:
        """Wait for the first byte; raise the error if that came first."""
        with self._changed:
            self._changed.wait_for(lambda: self._written or self._ended)
            if not self._written and self._error is not None:
                raise self._error

    @property
    def error(self) -> BaseException | None:
        """Why it ended, if not because all is there."""
        return self._error

    def read(self, most: int = READ_BYTES) -> bytes:
        """Wait for some bytes; b"" is the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._read < self._written or self._ended)
            if self._file.closed:
                return b""
            self._file.seek(self._read)
            data = self._file.read(most)
            self._read += len(data)
            return data

    def close(self) -> None:
        """Drop everything, even what is yet to be written."""
        with self._changed:
            self._ended = True
            self._file.close()


class ConversionStream:
    """One conversion in a thread of its own, and the bytes of its result as they are made."""

    def __init__(
        self, request: ConvertRequest, audio_format: str, token: Token, metrics: StreamMetrics
    ) -> None:
        self.token = token
        self._request = request
        self._format = audio_format
        self._metrics = metrics
        self._spool = Spool()
        self._encoder: Encoder | None = None
        self._encode_s = 0.0
        self._begun: ResultPart | None = None

    def start(self, convert: Convert) -> ResultPart:
        """Begin, and wait for the first byte; raise what the conversion raises before it.

        The answer is the first part, which tells of the whole.
        """
        started = time.perf_counter()
        executor = ThreadPoolExecutor(1, "stream")
        # In our context: with it goes the room that is kept for this request.
        executor.submit(copy_context().run, self._run, convert).add_done_callback(
            lambda done: self._spool.end(done.exception())
        )
        executor.shutdown(wait=False)
        self._spool.wait_first()
        self._metrics.note_first(time.perf_counter() - started)
        assert self._begun is not None
        return self._begun

    @property
    def encoder(self) -> Encoder:
        """What makes the bytes; there is one as soon as the first byte is there."""
        assert self._encoder is not None
        return self._encoder

    def chunks(self) -> Iterator[bytes]:
        """The bytes, as they are made; raise `StreamBroken` where they end too early."""
        while data := self._spool.read():
            yield data
            self._metrics.note_sent(len(data))
        if self._spool.error is not None:
            self._metrics.note_truncated()
            why = f"The stream of {self._request.request_id} broke off: {self._spool.error}"
            logger.warning("%s", why)
            raise StreamBroken(why)

    def close(self) -> None:
        """End the conversion, if it still runs, and drop its bytes."""
        self.token.cancel()
        self._spool.close()

    def _run(self, convert: Convert) -> None:
        with logging_as(self._request.request_id), self.token.governing():
            convert(self._take)
            self._finish()

    def _take(self, result: ResultPart) -> None:
        from rvc_core.encoders import open_encoder

        part = result.part
        started = time.perf_counter()
        if self._encoder is None:
            self._encoder = open_encoder(self._format, part.sample_rate, part.n_total)
            self._begun = result
        data = self._encoder.push(part.samples)
        self._encode_s += time.perf_counter() - started
        self._spool.write(data)

    def _finish(self) -> None:
        if self._encoder is None:
            raise EmptyAudio("There are no samples to write.")
        started = time.perf_counter()
        data = self._encoder.finish()
        self._encode_s += time.perf_counter() - started
        self._spool.write(data)
        self._metrics.note_encoded(self._format, self._encode_s)
