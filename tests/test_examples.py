"""The manual's examples, run as they stand against a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_server import all_routes
from rvc_core.whisper import CONTENT_NAME
from server.api.context import create_context
from server.api.route import Route
from tests.e2e.client import hum
from tests.rvc_core.tiny import TinyVoice
from tests.server.live import live_services, running

PAGE = Path(__file__).parents[1] / "docs" / "examples.md"
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
METHOD = re.compile(r"(?:-X|--request) ([A-Z]+)")
ADDRESS = re.compile(r"\$HOST(/[^\s\"'?]*)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples run, with the files that they use."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "recording.wav").write_bytes(hum(0.5))
    TinyVoice(seed=1, extras={"content": CONTENT_NAME}).write(folder, "mine")
    return folder


@pytest.fixture(scope="module")
def host(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    scratch = tmp_path_factory.mktemp("server")
    shutil.copytree(models_dir, scratch / "models")
    services = live_services(scratch / "models", outputs_dir=scratch / "outputs")
    services.warm_up()
    with running(services) as url:
        yield url


def asked_for(block: str) -> list[tuple[str, str]]:
    """Method and path of each call of curl."""
    calls = []
    for line in re.findall(r"curl (?:[^\n\\]|\\\n?)*", block):
        method = METHOD.search(line)
        usual = "POST" if re.search(r" (-F|-d) ", line) else "GET"
        for path in ADDRESS.findall(line):
            calls.append((method.group(1) if method else usual, path))
    return calls


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("number", range(len(BLOCKS)), ids=lambda n: BLOCKS[n].strip()[:50])
def test_an_example_works(number: int, folder: Path, host: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", BLOCKS[number]],
        cwd=folder,
        env={**os.environ, "HOST": host, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_route_has_an_example(tmp_path: Path) -> None:
    services = live_services(tmp_path)
    routes = all_routes(create_context(services))
    services.close()
    calls = [call for block in BLOCKS for call in asked_for(block)]
    assert [f"{r.method} {r.paths[0]}" for r in routes if not has_example(r, calls)] == []


def has_example(route: Route, calls: list[tuple[str, str]]) -> bool:
    pattern = re.compile(re.sub(r"<[^>]+>", "[^/]+", route.paths[0]))
    return any(m == route.method and pattern.fullmatch(path) for m, path in calls)
