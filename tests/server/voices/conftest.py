"""A desk over a folder of voices, whose inspections run in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.services import Services
from server.voices.desk import VoiceDesk
from tests.server.voices.made import inspect_here


@pytest.fixture
def desk(services: Services) -> VoiceDesk:
    services.desk.inspect = inspect_here
    return services.desk


@pytest.fixture
def voices(fake_models: Path) -> Path:
    return fake_models / "voices"
