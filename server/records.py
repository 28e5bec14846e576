"""What goes into the services and what comes out; no HTTP, no models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rvc_core.options import ConversionOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rvc_core.audio import Audio


@dataclass(frozen=True)
class ConvertRequest:
    """One recording, as bytes of an audio file, and how to convert it.

    `voice` None means the default voice; `index` is a name in the folder of indexes and None
    means the voice's own.
    """

    audio: bytes
    voice: str | None
    options: ConversionOptions
    request_id: str
    index: str | None = None


@dataclass(frozen=True)
class ConvertResult:
    """A converted recording; `timings` in seconds, `source_f0` in Hz on a 10 ms grid, 0 unvoiced.

    `state_at_arrival` is what the voice was when the request came: ready, offloaded or unloaded.
    """

    audio: Audio
    voice: str
    device: str
    state_at_arrival: str
    timings: Mapping[str, float]
    source_f0: NDArray[np.float32]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class VoiceInfo:
    """A voice on disk; `error` says why its file cannot be used, and then facts are None."""

    id: str
    engine: str
    kind: str
    sample_rate: int | None
    version: str | None
    f0: bool | None
    speakers: int | None
    content: str | None
    index: bool
    bytes: int
    state: str
    device: str | None
    pinned: bool
    card: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class ReadyState:
    """Whether conversions can be served; a ready server may have reasons for concern too."""

    ready: bool
    reasons: tuple[str, ...]
