"""A folder of voices and what serves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api_server import create_app
from server.services import Services
from tests.rvc_core.recordings import by_soundfile, sine
from tests.server.fakes import fake_services


@pytest.fixture
def fake_models(tmp_path: Path) -> Path:
    voices = tmp_path / "models" / "voices"
    voices.mkdir(parents=True)
    (voices / "anna.pth").write_bytes(b"anna")
    return tmp_path / "models"


@pytest.fixture
def services(fake_models: Path) -> Iterator[Services]:
    services = fake_services(fake_models)
    yield services
    services.close()


@pytest.fixture
def client(services: Services) -> FlaskClient:
    return create_app(services).test_client()


@pytest.fixture
def recording() -> bytes:
    """A tenth of a second of wav."""
    return by_soundfile(sine(0.1, 16_000), 16_000, "WAV")
