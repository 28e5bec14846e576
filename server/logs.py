"""Log lines on standard error, each with the request it belongs to."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")
FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s [%(request_id)s] %(name)s: %(message)s"
QUIET = {
    "httpx": logging.WARNING,
    "matplotlib": logging.WARNING,
    "numba": logging.WARNING,
    "uvicorn": logging.WARNING,
    "waitress": logging.WARNING,
    "waitress.queue": logging.ERROR,  # a full house is answered with 503, not with log lines
}


def configure_logging(level: str) -> None:
    """Send all log records of `level` and above, Python warnings too, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter(FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(_add_request_id)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(least, logging.getLogger().level))


@contextmanager
def logging_as(request_id: str) -> Iterator[None]:
    """Mark the log lines of this thread with a request until the block ends."""
    before = REQUEST_ID.set(request_id)
    try:
        yield
    finally:
        REQUEST_ID.reset(before)


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = REQUEST_ID.get()
    return True
