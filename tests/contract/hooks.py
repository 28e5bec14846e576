"""What the document cannot say to a program that makes up requests: which bytes are a recording.

Loaded by schemathesis (schemathesis.toml). Requests that are meant to be valid get recordings, and
lose what is valid in itself and not on this server; those meant to be invalid stay as they are.
"""

from __future__ import annotations

import base64
import io
import math
import struct
import wave
from typing import Any

import schemathesis
from schemathesis.transport.serialization import Binary

RATE = 16_000
UPLOADS = ("add_model", "inspect_model")
# Other speakers, indexes, F0 methods and addresses than there are, and times that are too short or
# too long.
LEFT_OUT = frozenset(
    {
        *("spk_id", "index_path", "f0_method", "timeout_s", "keep_alive"),
        *("audio_url", "webhook_url", "items"),
    }
)


def beep() -> bytes:
    """A tenth of a second of sound; the bytes of a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        samples = [round(9_000 * math.sin(n / 13)) for n in range(RATE // 10)]
        writer.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return file.getvalue()


SOUND = beep()
RECORDING = Binary(SOUND)
IN_TEXT = {"audio_base64": base64.b64encode(SOUND).decode()}
# Field by operation and type of body: where the recording goes.
PLACES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "convert": ({"audio": RECORDING}, IN_TEXT),
    "convert_batch": ({"files[]": [RECORDING]}, {"items": [IN_TEXT]}),
    "jobs_convert": ({"audio": RECORDING}, IN_TEXT),
    "jobs_batch": ({"files[]": [RECORDING]}, {"items": [IN_TEXT]}),
}
SOUNDS = frozenset(name for places in PLACES.values() for place in places for name in place)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Put recordings into requests that are meant to be valid."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    name = case.operation.definition.raw["operationId"]
    if name in UPLOADS:
        case._meta = None  # no program makes up a voice: any announced answer will do
        return
    case.headers.pop("X-Timeout-Ms", None)
    if isinstance(case.body, dict):
        case.body = mended(name, case.body, is_json="json" in (case.media_type or ""))
        if case.query.get("async") in ("1", "true"):
            case.body.pop("stream", None)  # a job's result is a file
    accept_changes(case)


def accept_changes(case: Any) -> None:
    """Have what was put in count as made up: bytes are no strings to those who check again."""
    for location in case._meta.components:
        hashed = case._hash_container(case.get_container(location))
        case._meta.update_validated_hash(location, hashed)
        case._meta.clear_dirty(location)


def mended(name: str, body: dict[str, Any], is_json: bool) -> dict[str, Any]:
    """The body as the operation takes it here."""
    if name == "submit_job":
        place = f"jobs_{body['type']}"
        if is_json:
            return {**body, "params": filled(place, body["params"], is_json)}
        return filled(place, body, is_json)
    if name == "change_gpu_settings":
        return {n: v for n, v in body.items() if n != "gpu_vram_budget"}  # a size with its unit
    return filled(name, body, is_json) if name in PLACES else body


def filled(place: str, fields: dict[str, Any], is_json: bool) -> dict[str, Any]:
    """The fields with a recording in its place, and none in another."""
    kept = {name: v for name, v in fields.items() if name not in LEFT_OUT | SOUNDS}
    if kept.get("compatibility") == "official":
        kept.pop("resample_sr", None)  # it has fewer rates
    return {**kept, **PLACES[place][is_json]}
