"""Voice conversion as a library: no server, no environment, no global state."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rvc_core.audio import Audio, read_audio, write_audio
    from rvc_core.content import load_content_encoder
    from rvc_core.converter import Conversion, VoiceConverter
    from rvc_core.f0 import F0_METHODS, load_f0_estimator
    from rvc_core.options import ConversionOptions
    from rvc_core.retrieval import load_index
    from rvc_core.voice import Voice, load_voice

_HOMES = {
    "Audio": "audio",
    "Conversion": "converter",
    "ConversionOptions": "options",
    "F0_METHODS": "f0",
    "Voice": "voice",
    "VoiceConverter": "converter",
    "load_content_encoder": "content",
    "load_f0_estimator": "f0",
    "load_index": "retrieval",
    "load_voice": "voice",
    "read_audio": "audio",
    "write_audio": "audio",
}

__all__ = [
    "F0_METHODS",
    "Audio",
    "Conversion",
    "ConversionOptions",
    "Voice",
    "VoiceConverter",
    "load_content_encoder",
    "load_f0_estimator",
    "load_index",
    "load_voice",
    "read_audio",
    "write_audio",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes a second, options do not need it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
