"""Connections on which nothing comes must not keep others out."""

from __future__ import annotations

import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
import requests

PATIENCE_S = 20.0
N_SILENT = 1_100
# A server in a process of its own, as each of its sockets takes one of a thousand file numbers.
SERVER = """
import sys
from pathlib import Path
from api_server import create_app
from server.sockets import bind, port_of
from server.waitress_server import ApiServer
from tests.server.fakes import fake_services

services = fake_services(Path(sys.argv[1]))
services.warm_up()
bound = bind("127.0.0.1", 0, "API_PORT")
server = ApiServer(create_app(services), bound, services.settings)
server.start()
sys.stdout.write(f"{port_of(bound)}\\n")
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for the sockets of the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = N_SILENT + 400
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"This system allows only {hard} open files.")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def server(models: Path) -> Iterator[int]:
    """The port of a server over fake models, which ends with the block."""
    command = [sys.executable, "-c", SERVER, str(models)]
    with Popen(command, stdin=PIPE, stdout=PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(PATIENCE_S)


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("sent", [b"", b"P"], ids=["silent", "one byte"])
def test_a_thousand_half_open_connections_do_not_stop_service(
    fake_models: Path, recording: bytes, sent: bytes
) -> None:
    with server(fake_models) as port, ExitStack() as stack:
        for _ in range(N_SILENT):
            client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
            stack.enter_context(client)
            client.sendall(sent)
        url = f"http://127.0.0.1:{port}"
        assert requests.get(f"{url}/health", timeout=PATIENCE_S).status_code == 200
        files = {"audio": recording}
        converted = requests.post(f"{url}/api/v1/convert", files=files, timeout=PATIENCE_S)
        assert (converted.status_code, converted.content[:4]) == (200, b"RIFF")
