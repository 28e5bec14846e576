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
    from rvc_core.converter import Conversion


@dataclass(frozen=True)
class ConvertRequest:
    """One recording, as bytes of an audio file, and how to convert it.

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


@dataclass(frozen=True)
class Converted:
    """What comes back; `queue_s` and `load_s` were spent on waiting for models."""

    conversion: Conversion
    device: str
    state_at_arrival: str
    queue_s: float
    load_s: float


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
