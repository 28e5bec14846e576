"""The OpenAPI document, drawn from the option table and the models of the answers."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from rvc_core.options import OPTION_SPECS, OptionSpec
from server import VERSION
from server.api.gpu import OFFLOAD_PATHS, RELEASE_PATHS, STATUS_PATHS
from server.api.requests import AUDIO_FIELDS, FORMATS, VOICE_FIELDS
from server.api.schemas import (
    ConvertAnswer,
    ErrorBody,
    GpuStatus,
    Health,
    MoveRequest,
    Moves,
    Readiness,
    ServerInfo,
    VoiceList,
)

Json = dict[str, Any]
BODIES = (
    *(ConvertAnswer, ErrorBody, GpuStatus, Health, MoveRequest, Moves, Readiness, ServerInfo),
    VoiceList,
)
JSON_TYPES = {bool: "boolean", float: "number", int: "integer", str: "string"}
UNSET: Json = {"example": ""}  # else the page's form begins with an invented value
REQUEST_HEADERS = {
    "X-Request-Id": "Name of the request, up to 64 of A-Z a-z 0-9 . _ -; else one is made.",
    "X-Timeout-Ms": "As timeout_s, in milliseconds; it wins over timeout_s.",
    "X-Priority": "interactive (the default) or batch, which stands behind it for half a minute.",
}
ANSWER_HEADERS = {
    "X-Audio-Sample-Rate": "Sample rate in Hz.",
    "X-Audio-Channels": "Number of channels.",
    "X-Audio-Encoding": "pcm_s16le, flac or mp3.",
    "X-Model": "The voice, percent-encoded.",
    "X-Device": "Where it was converted.",
    "X-Model-State": "What the voice was when the request came: ready, offloaded or unloaded.",
    "X-Queue-Ms": "Time in line, in milliseconds.",
    "Server-Timing": "Milliseconds by stage.",
    "X-Warnings": "What may surprise, percent-encoded where it is not ASCII.",
}
FAILURES = {
    "400": "A field, the voice's file or the audio is not usable.",
    "401": "The API key is missing or wrong.",
    "403": "The route is closed: the server is open to the network without a key.",
    "404": "There is no such voice.",
    "409": "Nothing could be moved: the models are in use or pinned.",
    "413": "The body is too large or the audio too long.",
    "415": "The audio cannot be decoded, or the body is of another type.",
    "500": "The server failed.",
    "503": "Not now: too many wait, the server stops, or the device is short of memory.",
    "504": "The time allowed is over.",
}
NOT_OF_CONVERT = {"403", "409"}


def build_document(with_key: bool) -> Json:
    """The OpenAPI 3.1 document; `with_key` says that /api asks for the API key."""
    _, definitions = models_json_schema(
        [(model, "serialization") for model in BODIES], ref_template="#/components/schemas/{model}"
    )
    security = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    components: Json = {"schemas": definitions["$defs"]}
    if with_key:
        components["securitySchemes"] = security
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Voice server",
            "version": VERSION,
            "description": "Converts recordings into other voices.",
        },
        "paths": {
            "/api/v1/convert": {"post": _convert(with_key)},
            "/api/v1/models": {"get": _get("models", "All voices", VoiceList, key=with_key)},
            "/health": {"get": _get("health", "Is the server alive?", Health, "503")},
            "/ready": {"get": _get("ready", "Can it convert now?", Readiness, "503")},
            "/info": {"get": _get("info", "What it is and can do", ServerInfo, key=with_key)},
            "/metrics": {"get": _metrics(with_key)},
            **_gpu_paths(with_key),
        },
        "components": components,
    }


def _convert(with_key: bool) -> Json:
    name, *others = AUDIO_FIELDS
    text = f"The recording. In its place: {' or '.join(others)}."
    audio = {"type": "string", "contentMediaType": "application/octet-stream", "description": text}
    encoded = {"type": "string", "contentEncoding": "base64", "description": "The recording."}
    key: set[str] = set() if with_key else {"401"}
    return {
        "operationId": "convert",
        "summary": "Convert a recording",
        "description": "One recording in, the same in another voice out, as long as it was.",
        "tags": ["conversion"],
        "parameters": [_header_in(name, text) for name, text in REQUEST_HEADERS.items()],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": _object({name: audio} | _fields(), name)},
                "application/json": {
                    "schema": _object({"audio_base64": encoded} | _fields(), "audio_base64"),
                    "example": {"audio_base64": "UklGR...", "model": "demo", "f0_up_key": 2},
                },
            },
        },
        "responses": {
            "200": {
                "description": "The converted recording.",
                "headers": {n: _header_out(text) for n, text in ANSWER_HEADERS.items()},
                "content": {
                    **{
                        media_type: {"schema": {"type": "string", "format": "binary"}}
                        for media_type in FORMATS.values()
                    },
                    "application/json": {"schema": _ref(ConvertAnswer)},
                },
            },
            **_failures(*(code for code in FAILURES if code not in NOT_OF_CONVERT | key)),
        },
        **_security(with_key),
    }


def _fields() -> Json:
    """Every text field of a conversion, form and JSON alike."""
    name, *others = VOICE_FIELDS
    text = "The voice; not needed where there is one only. In its place: " + " or ".join(others)
    return {
        name: {"type": "string", "description": text + ".", **UNSET},
        **{spec.api: _option(spec) for spec in OPTION_SPECS},
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


def _get(name: str, summary: str, answer: type, *more: str, key: bool = False) -> Json:
    body = {"application/json": {"schema": _ref(answer)}}
    same = {code: {"description": "No; the body says why.", "content": body} for code in more}
    failures = _failures("401", "500") if key else _failures("500")
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["voices" if name == "models" else "system"],
        "responses": {"200": {"description": "Yes.", "content": body}, **same, **failures},
        **_security(key),
    }


def _gpu_paths(with_key: bool) -> Json:
    """Devices and models; each route has further addresses for callers of other servers."""
    paths: Json = {}
    for path in STATUS_PATHS:
        described = _get("gpu_status", "Where models are, and who waits", GpuStatus, key=with_key)
        paths[path] = {"get": _named(described, path)}
    for addresses, name, summary in (
        (OFFLOAD_PATHS, "offload", "Move idle models to RAM"),
        (RELEASE_PATHS, "release", "Drop idle models from memory"),
    ):
        for path in addresses:
            paths[path] = {"post": _named(_move(name, summary, with_key), path)}
    return paths


def _move(name: str, summary: str, with_key: bool) -> Json:
    body = {"application/json": {"schema": _ref(MoveRequest), "example": {"model": "demo"}}}
    statuses = ("400", "401", "403", "404", "409", "500", "503")
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["devices"],
        "requestBody": {"required": False, "content": body},
        "responses": {
            "200": {
                "description": "What was moved, on all devices.",
                "content": {"application/json": {"schema": _ref(Moves)}},
            },
            **_failures(*(code for code in statuses if with_key or code != "401")),
        },
        **_security(with_key),
    }


def _metrics(with_key: bool) -> Json:
    text = {"text/plain": {"schema": {"type": "string"}}}
    failures = _failures("401", "500") if with_key else _failures("500")
    return {
        "operationId": "metrics",
        "summary": "Figures for Prometheus",
        "tags": ["system"],
        "responses": {"200": {"description": "Its text format.", "content": text}, **failures},
        **_security(with_key),
    }


def _named(described: Json, path: str) -> Json:
    """A route under another address needs a name of its own."""
    name = described["operationId"] + path.removeprefix("/api").replace("/", "_")
    tags = ["devices"]
    return {**described, "operationId": name, "tags": tags, "deprecated": "/v1/" not in path}


def _object(properties: Json, required: str) -> Json:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": [required],
    }


def _failures(*statuses: str) -> Json:
    body = {"application/json": {"schema": _ref(ErrorBody)}}
    return {status: {"description": FAILURES[status], "content": body} for status in statuses}


def _security(with_key: bool) -> Json:
    return {"security": [{"bearer": []}, {"api_key": []}]} if with_key else {}


def _ref(model: type) -> Json:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _header_in(name: str, description: str) -> Json:
    schema = {"type": "string"}
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _header_out(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}
