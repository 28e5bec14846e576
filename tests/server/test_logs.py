from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.logs import QUIET, configure_logging, file_of, logging_as
from server.setting_groups import LogSettings
from server.setting_specs import InvalidSetting


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """What a test changes in logging is put back, and its files are closed."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in QUIET}
    root.handlers[:] = []
    yield
    logging.captureWarnings(False)
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level = before, level
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_a_json_line_has_time_level_request_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(log_format="json"))
    with logging_as("r-1"):
        logging.getLogger("x").info("hello %d", 5, extra={"request": {"status": 200}})
    line = json.loads(capsys.readouterr().err)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "x",
        "request_id": "r-1",
        "message": "hello 5",
        "request": {"status": 200},
    }


def test_a_traceback_is_in_the_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(log_format="json"))
    try:
        raise ZeroDivisionError("two\nlines")
    except ZeroDivisionError:
        logging.getLogger("x").exception("It failed.")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError: two\nlines" in json.loads(line)["exception"]


@pytest.mark.parametrize("kind", ["text", "json"])
@pytest.mark.parametrize("evil", ["a\nb", "a\r\nb", "a\x1b[2Jb", "a\u2028b", "a\x85b"])
def test_a_value_cannot_begin_a_line_of_its_own(
    kind: str, evil: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(LogSettings(log_format=kind))
    logging.getLogger("x").info("name=%s", evil)
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text


def test_an_exception_cannot_pass_for_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings())
    try:
        raise ValueError("x\n2026-01-01T00:00:00.000Z INFO [-] boss: all is well")
    except ValueError:
        logging.getLogger("x").exception("It failed.")
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith("x: It failed.")
    assert all(line.startswith("    ") for line in rest)


def test_the_file_has_what_standard_error_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "logs" / "server.log"
    configure_logging(LogSettings(log_file=path))
    logging.getLogger("x").info("hello")
    assert path.read_text() == capsys.readouterr().err


def test_a_file_is_put_aside_at_its_size_and_few_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.log_files.MIB", 1000)
    path = tmp_path / "server.log"
    configure_logging(LogSettings(log_file=path, log_max_mb=1, log_backups=2))
    for n in range(100):
        logging.getLogger("x").info("line %d", n)
    assert {file.name for file in tmp_path.iterdir()} == {
        "server.log",
        "server.log.1",
        "server.log.2",
    }
    assert lines_of(path)[-1].endswith("line 99")
    assert all(file.stat().st_size <= 1000 for file in tmp_path.iterdir())


def test_workers_have_files_of_their_own() -> None:
    assert file_of(Path("logs/server.log"), None) == Path("logs/server.log")
    assert file_of(Path("logs/server.log"), 1) == Path("logs/server.worker-1.log")


def test_a_full_disk_is_told_once_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(log_file=Path("/dev/full")))
    for _ in range(3):
        logging.getLogger("x").info("hello")
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "hello" not in line] == [
        "/dev/full cannot be written; lines are lost."
    ]
    sys.stderr.flush()


def test_a_file_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="LOG_FILE is"):
        configure_logging(LogSettings(log_file=tmp_path))
