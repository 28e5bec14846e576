"""How the document shows the fields of a conversion; drawn from the table of options."""

from __future__ import annotations

from rvc_core.options import OPTION_SPECS, OptionSpec
from server.api.requests import AUDIO_FIELDS, FORMATS, VOICE_FIELDS
from server.api.route import Content, Json, Parameter
from server.placement import Priority

JSON_TYPES = {bool: "boolean", float: "number", int: "integer", str: "string"}
UNSET: Json = {"example": ""}  # else the page's form begins with an invented value
STREAM: Json = {
    "type": "boolean",
    "default": False,
    "description": "Begin to answer before the conversion has finished, with the first seconds.",
}
CONVERT_EXAMPLE = {"audio_base64": "UklGR...", "model": "demo", "f0_up_key": 2}
CONVERT_HEADERS = (
    Parameter(
        "X-Timeout-Ms",
        "As timeout_s, in milliseconds; it wins over timeout_s.",
        "header",
        {"type": "integer", "minimum": 1},
    ),
    Parameter(
        "X-Priority",
        "interactive (the default) or batch, which stands behind it for half a minute.",
        "header",
        {"type": "string", "enum": [priority.value for priority in Priority]},
    ),
)
ANSWER_HEADERS = {
    "X-Audio-Sample-Rate": "Sample rate in Hz.",
    "X-Audio-Channels": "Number of channels.",
    "X-Audio-Encoding": "pcm_s16le, flac, mp3 or vorbis.",
    "X-Model": "The voice, percent-encoded.",
    "X-Device": "Where it was converted.",
    "X-Model-State": "What the voice was when the request came: ready, offloaded or unloaded.",
    "X-Queue-Ms": "Time in line, in milliseconds.",
    "Server-Timing": "Milliseconds by stage; not with a stream, which has begun before.",
    "X-Accel-Buffering": "no, with a stream: proxies shall pass it on as it comes.",
    "X-Warnings": "What may surprise, percent-encoded where it is not ASCII.",
}
AUDIO_CONTENT: Content = {
    media_type: {"type": "string", "format": "binary"} for media_type in FORMATS.values()
}


def convert_forms() -> Content:
    """The two kinds of body that a conversion takes."""
    name, *others = AUDIO_FIELDS
    text = f"The recording. In its place: {' or '.join(others)}."
    audio = {"type": "string", "contentMediaType": "application/octet-stream", "description": text}
    encoded = {"type": "string", "contentEncoding": "base64", "description": "The recording."}
    fields = option_fields() | {"stream": STREAM}
    return {
        "multipart/form-data": _object({name: audio} | fields, name, "audio_url"),
        "application/json": _object(
            {"audio_base64": encoded} | fields, "audio_base64", "audio_url"
        ),
    }


def option_fields() -> Json:
    """Every text field of a conversion, form and JSON alike."""
    name, *others = VOICE_FIELDS
    text = "The voice; not needed where there is one only. In its place: " + " or ".join(others)
    return {
        name: {"type": "string", "description": text + ".", **UNSET},
        **{spec.api: _option(spec) for spec in OPTION_SPECS},
        "audio_url": {
            "type": "string",
            "description": "The recording's address, in place of the recording, where the server "
            "is set to fetch any; https, on the public network.",
            **UNSET,
        },
        "index_path": {
            "type": "string",
            "description": "Another index than the voice's own: its name in the index folder.",
            **UNSET,
        },
        "response_format": {
            "type": "string",
            "enum": list(FORMATS),
            "default": "wav",
            "description": "Format of the answer; else what Accept asks for.",
        },
        "timeout_s": {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": "Time allowed in seconds, waiting included; the server caps it.",
            **UNSET,
        },
        "keep_alive": {
            "type": "number",
            "minimum": -1,
            "description": "Seconds that the voice stays on its device after this conversion; "
            "0: none, -1: as long as there is room. Unset: as the server is set.",
            **UNSET,
        },
    }


def _option(spec: OptionSpec) -> Json:
    schema: Json = {"type": JSON_TYPES[spec.kind], "description": spec.help}
    if spec.choices is not None:
        schema["enum"] = list(spec.choices)
    if spec.low is not None and spec.high is not None:
        schema["minimum"], schema["maximum"] = spec.low, spec.high
        for value in spec.also:  # allowed, but nothing between it and the range
            schema["minimum"] = value
            schema["not"] = {"exclusiveMinimum": value, "exclusiveMaximum": spec.low}
    return schema | (UNSET if spec.optional else {"default": spec.default})


def _object(properties: Json, *either: str) -> Json:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "oneOf": [{"required": [name]} for name in either],
    }
