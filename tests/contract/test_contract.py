"""The API keeps to its own description: requests made up from it, right and wrong ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.keys import Key, digest_of
from tests.server.fakes import fake_services
from tests.server.live import running

ROOT = Path(__file__).parents[2]
KEY = "open-sesame"
EXAMPLES = "10"  # of each route and phase; benchmarks/contract.py makes up many more


@pytest.fixture(params=["open", "with a key"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and what schemathesis needs to be let in."""
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "anna.pth").write_bytes(b"anna")
    more: dict[str, Any] = {"outputs_dir": tmp_path / "outputs", "waitress_threads": 24}
    if request.param == "with a key":
        more["api_keys"] = (Key("anna", digest_of(KEY)),)
    services = fake_services(tmp_path, **more)
    services.warm_up()
    with running(services) as url:
        yield url, ["--header", f"X-API-Key: {KEY}"] if "api_keys" in more else []


@pytest.mark.slow
def test_no_request_breaks_the_contract(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, header = server
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json"),
        *("--max-examples", EXAMPLES, "--continue-on-failure", "--request-timeout", "5"),
        *("--generation-deterministic", "--no-color", "--report-dir", str(tmp_path), *header),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,  # schemathesis.toml is there
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Stateful" in done.stdout
    assert "not applicable" not in done.stdout
