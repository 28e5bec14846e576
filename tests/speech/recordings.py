"""Real recordings of people, from the package pytest-audioeval, with the words they say."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from rvc_core.audio import Audio, read_audio

_PACKAGE = "pytest-audioeval"
_FOLDER = "pytest_audioeval/samples/audio/en"


@dataclass(frozen=True)
class Recording:
    """A recording and its words."""

    name: str
    audio: Audio
    words: str


def read_english_recordings() -> list[Recording]:
    """All English ones; skip the test where the package cannot be had."""
    try:
        folder = Path(str(metadata.distribution(_PACKAGE).locate_file(_FOLDER)))
    except metadata.PackageNotFoundError:
        pytest.skip(f"{_PACKAGE} is not installed (extra `recordings`)")
    return [
        Recording(path.stem, read_audio(path), path.with_suffix(".txt").read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.wav"))
    ]
