"""One recording of a job or a batch: converted, encoded, and told about."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rvc_core.options import OPTION_SPECS, ConversionOptions
from rvc_core.run import Progress
from rvc_core.token import Token
from server.jobs.records import Item
from server.placement import Priority
from server.records import ConvertRequest, ConvertResult

Convert = Callable[[ConvertRequest, Token, Callable[[Progress], None]], ConvertResult]
SPANS = {"f0": (0.0, 0.2), "synth": (0.2, 1.0)}  # where a stage lies in a conversion
UNSAFE = re.compile(r"[^\w.-]+")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)  # by Windows
LONGEST_NAME = 80


@dataclass(frozen=True)
class Done:
    """What became of an item, in the manifest's words; `error` as in the API's errors."""

    name: str
    status: str
    file: str | None = None
    model: str | None = None
    duration_s: float | None = None
    sample_rate: int | None = None
    device: str | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Work:
    """What a conversion for a job needs beside the item: who asks, until when, and who listens."""

    request_id: str
    token: Token
    on_progress: Callable[[Progress], None]
    priority: Priority


def convert_item(convert: Convert, item: Item, audio: bytes, work: Work) -> tuple[Done, bytes]:
    """Convert and encode one recording; raise what the conversion raises."""
    from rvc_core.audio import encode_audio

    result = convert(_request(item, audio, work), work.token, work.on_progress)
    started = time.perf_counter()
    encoded = encode_audio(result.audio, item.audio_format)
    encode_s = time.perf_counter() - started
    timings = {**result.timings, "encode": encode_s, "total": result.timings["total"] + encode_s}
    done = Done(
        name=item.name,
        status="ok",
        file=f"{item.name}.{item.audio_format}",
        model=result.voice,
        duration_s=result.audio.duration_s,
        sample_rate=_rate_of(encoded),
        device=result.device,
        timings={stage: round(seconds, 6) for stage, seconds in timings.items()},
        warnings=result.warnings,
    )
    return done, encoded


def share_of(progress: Progress) -> float:
    """How much of a conversion is done, in [0, 1]."""
    low, high = SPANS.get(progress.stage, (0.0, 0.0))
    return low + (high - low) * progress.done / max(1, progress.total)


def options_by_name(options: ConversionOptions) -> dict[str, Any]:
    """The options by their outside names, without those that are unset."""
    given = {spec.api: getattr(options, spec.name) for spec in OPTION_SPECS}
    return {name: value for name, value in given.items() if value is not None}


def unique_names(wanted: Iterable[str]) -> list[str]:
    """A safe file name, without suffix, for each wanted one; no two are alike on any system."""
    taken: set[str] = set()
    names = []
    for number, text in enumerate(wanted, start=1):
        stem = _safe(text) or f"item-{number}"
        name, again = stem, 2
        while name.casefold() in taken:
            name, again = f"{stem}-{again}", again + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def _safe(text: str) -> str:
    last = text.replace("\\", "/").rpartition("/")[2]
    name = UNSAFE.sub("_", last).strip("._-")[:LONGEST_NAME].rstrip("._-")
    return f"_{name}" if RESERVED.fullmatch(name.partition(".")[0]) else name


def _request(item: Item, audio: bytes, work: Work) -> ConvertRequest:
    return ConvertRequest(
        audio=audio,
        voice=item.voice,
        options=ConversionOptions.from_api(item.options),
        request_id=work.request_id,
        index=item.index,
        priority=work.priority,
        keep_alive_s=item.keep_alive_s,
        audio_url=item.audio_url,
    )


def _rate_of(encoded: bytes) -> int:
    """The rate that the file states: mp3 does not have every rate that voices have."""
    import soundfile

    with soundfile.SoundFile(io.BytesIO(encoded)) as file:
        return int(file.samplerate)
