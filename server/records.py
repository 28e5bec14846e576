"""What goes into the services and what comes out; no HTTP, no models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rvc_core.library import VoiceEntry
from rvc_core.options import ConversionOptions
from server.placement import Priority

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rvc_core.audio import Audio
    from rvc_core.converter import Conversion, Part


@dataclass(frozen=True)
class ConvertRequest:
    """One recording, as bytes of an audio file, and how to convert it.

    `audio_url` is where it is to be fetched from; then `audio` is empty.
    `voice` None means the default voice; `index` is a name in the folder of indexes and None
    means the voice's own. `keep_alive_s` replaces the timers of the voice after this conversion:
    0 = leaves its device at once, -1 = stays while there is room, None = as the settings say.
    """

    audio: bytes
    voice: str | None
    options: ConversionOptions
    request_id: str
    index: str | None = None
    priority: Priority = Priority.INTERACTIVE
    keep_alive_s: float | None = None
    audio_url: str | None = None


@dataclass(frozen=True)
class ConversionTask:
    """A request that was checked as far as it can be without models; goes to the device's process.

    `f0_method` is resolved, and None for voices without F0.
    """

    entry: VoiceEntry
    audio: Audio
    options: ConversionOptions
    request_id: str
    index: Path | None
    f0_method: str | None
    is_batch: bool
    keep_alive_s: float | None
    is_pinned: bool
    streams: bool = False  # whether its caller wants the result in parts too


@dataclass(frozen=True)
class Converted:
    """What comes back; `queue_s` and `load_s` were spent on waiting for models."""

    conversion: Conversion
    device: str
    state_at_arrival: str
    queue_s: float
    load_s: float


@dataclass(frozen=True)
class ResultPart:
    """A part of a result that is still being made, and what is known of the whole by now."""

    part: Part
    voice: str
    device: str
    state_at_arrival: str
    queue_s: float


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
class LoadRequest:
    """A voice to be brought to a device, or to host memory; `pinned` None leaves that as it is."""

    voice: str
    request_id: str
    to_host: bool = False
    pinned: bool | None = None


@dataclass(frozen=True)
class LoadTask:
    """The same with the voice found; goes to the device's process."""

    entry: VoiceEntry
    to_host: bool
    request_id: str
    is_pinned: bool


@dataclass(frozen=True)
class Loaded:
    """Where a voice is now: `seconds` went into waiting and loading, `bytes` are its weights'."""

    voice: str
    state: str
    device: str | None
    bytes: int
    seconds: float
    state_at_arrival: str


@dataclass(frozen=True)
class VoiceInfo:
    """A voice on disk; `error` says why its file cannot be used, and then facts are None.

    `last_used` is in seconds since 1970, `ttl` in seconds until it leaves memory if nobody comes.
    """

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
    last_used: float | None = None
    ttl: float | None = None
    card: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class ReadyState:
    """Whether conversions can be served; a ready server may have reasons for concern too."""

    ready: bool
    reasons: tuple[str, ...]
