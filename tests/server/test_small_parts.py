"""Logs, key, ports and error classes."""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from server import VERSION
from server.logs import REQUEST_ID, configure_logging
from server.setting_groups import LogSettings
from server.sockets import PortInUse, bind, port_of, url_of


@pytest.fixture
def own_logging() -> Iterator[None]:
    """What the test changes in logging is put back."""
    root = logging.getLogger()
    levels: dict[str, int] = {}
    handlers, level = root.handlers[:], root.level
    for name in ("httpx", "matplotlib", "numba", "uvicorn", "waitress", "waitress.queue"):
        levels[name] = logging.getLogger(name).level
    yield
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


@pytest.mark.usefixtures("own_logging")
def test_a_log_line_has_the_request_it_belongs_to(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings())
    token = REQUEST_ID.set("r-1")
    logging.getLogger("x").info("hello %d", 5)
    logging.getLogger("x").debug("not shown")
    REQUEST_ID.reset(token)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("Z INFO [r-1] x: hello 5")


@pytest.mark.usefixtures("own_logging")
def test_python_warnings_go_to_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("careful", stacklevel=1)
    assert "careful" in capsys.readouterr().err


def test_a_port_in_use_is_told_with_its_setting() -> None:
    with bind("127.0.0.1", 0, "API_PORT") as taken:
        taken.listen()
        with pytest.raises(PortInUse, match=f"UI_PORT {port_of(taken)} on 127.0.0.1"):
            bind("127.0.0.1", port_of(taken), "UI_PORT")


def test_a_host_that_is_none_is_told() -> None:
    with pytest.raises(PortInUse, match="999.0.0.1 is no address"):
        bind("999.0.0.1", 0, "API_PORT")


def test_the_address_to_open_is_never_a_wildcard() -> None:
    with bind("0.0.0.0", 0, "UI_PORT") as bound:
        assert url_of(bound) == f"http://127.0.0.1:{port_of(bound)}"


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_address_has_brackets() -> None:
    try:
        bound = bind("::1", 0, "UI_PORT")
    except PortInUse:
        pytest.skip("no IPv6 here")
    with bound:
        assert url_of(bound) == f"http://[::1]:{port_of(bound)}"


def test_the_version_is_that_of_the_project() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{VERSION}"' in project
