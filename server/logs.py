"""Log lines on standard error and in a file, each with the request it belongs to."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from server.log_files import open_rotating
from server.setting_groups import LogSettings

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")
FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s [%(request_id)s] %(name)s: %(message)s"
JSON_FIELDS = "%(levelname)s %(name)s %(request_id)s %(message)s"
JSON_NAMES = {"levelname": "level", "name": "logger", "exc_info": "exception"}
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # all that could begin a new line
QUIET = {
    "httpx": logging.WARNING,
    "matplotlib": logging.WARNING,
    "numba": logging.WARNING,
    "uvicorn": logging.WARNING,
    "waitress": logging.WARNING,
    "waitress.queue": logging.ERROR,  # a full house is answered with 503, not with log lines
}


class TextFormatter(logging.Formatter):
    """One line for each record; a traceback follows it, indented, so that nothing in it passes
    for a record of its own."""

    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, whatever is in the values that it shows."""
        return one_line(super().formatMessage(record))

    def formatException(self, ei: object) -> str:
        """The traceback."""
        lines = super().formatException(ei).splitlines()  # type: ignore[arg-type]
        return "\n".join(f"    {one_line(line)}" for line in lines)


def configure_logging(settings: LogSettings, worker: int | None = None) -> None:
    """Send all log records, Python warnings too, to standard error and to the file, if any.

    `worker` is the number of the worker process that this is: a file is put aside by one process
    only, so each has its own. Raises `InvalidSetting` if the file cannot be opened.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if settings.log_file is not None:
        path = file_of(settings.log_file, worker)
        handlers.append(open_rotating("LOG_FILE", path, settings, _say_on_stderr))
    for handler in handlers:
        handler.setFormatter(_formatter(settings.log_format))
        handler.addFilter(_add_request_id)
    logging.basicConfig(level=settings.log_level.upper(), handlers=handlers, force=True)
    logging.captureWarnings(True)
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(least, logging.getLogger().level))


def file_of(log_file: Path, worker: int | None) -> Path:
    """Where a process writes: the parent to the file itself, worker 0 to NAME.worker-0.EXT."""
    if worker is None:
        return log_file
    return log_file.with_name(f"{log_file.stem}.worker-{worker}{log_file.suffix}")


@contextmanager
def logging_as(request_id: str) -> Iterator[None]:
    """Mark the log lines of this thread with a request until the block ends."""
    before = REQUEST_ID.set(request_id)
    try:
        yield
    finally:
        REQUEST_ID.reset(before)


def one_line(text: str) -> str:
    """`text` with its control characters and line breaks made visible, as \\x0a."""
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _formatter(kind: str) -> logging.Formatter:
    if kind == "text":
        return TextFormatter(FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(JSON_FIELDS, rename_fields=JSON_NAMES, timestamp="time")


def _say_on_stderr(message: str) -> None:
    sys.stderr.write(f"{message}\n")


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = REQUEST_ID.get()
    return True
