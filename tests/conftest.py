"""What tests of every folder share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from demo_voice.build import ENCODER_PATH, MANIFEST_PATH, VOICE_PATH, build, is_complete

_INSTALLED = Path(__file__).parents[1] / "models"


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder that holds the demo voice and nothing else; do not write into it."""
    models = tmp_path_factory.mktemp("models")
    if not is_complete(_INSTALLED):
        build(models)
        return models
    for path in (VOICE_PATH, ENCODER_PATH, MANIFEST_PATH):
        (models / path).parent.mkdir(exist_ok=True)
        shutil.copyfile(_INSTALLED / path, models / path)
    return models
