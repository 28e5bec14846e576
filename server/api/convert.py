"""POST /api/v1/convert: one recording in, the converted one out."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Mapping
from urllib.parse import quote

from flask import Blueprint, Response, g, jsonify, request

from rvc_core.token import Token
from server.api.context import ApiContext
from server.api.requests import CallLimits, ConvertCall, read_convert_call
from server.api.schemas import ConvertAnswer, Timings
from server.records import ConvertResult

ENCODINGS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "mp3"}
HEADER_SAFE = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"


def create_convert_routes(context: ApiContext) -> Blueprint:
    """The routes that convert."""
    routes = Blueprint("convert", __name__)
    services, settings = context.services, context.services.settings
    limits = CallLimits(settings.max_request_seconds, settings.max_keep_alive)

    @routes.post("/api/v1/convert")
    def convert() -> Response:
        call = read_convert_call(request, g.request_id, limits)
        token = Token(call.timeout_s)
        is_gone = request.environ.get("waitress.client_disconnected")
        with context.watcher.watch(is_gone, token):
            result = services.convert(call.request, token)
        return _answer(call, result)

    return routes


def _answer(call: ConvertCall, result: ConvertResult) -> Response:
    from rvc_core.audio import AUDIO_FORMATS, encode_audio

    started = time.perf_counter()
    encoded = encode_audio(result.audio, call.audio_format)
    encode_s = time.perf_counter() - started
    sample_rate = _rate_of(encoded)
    timings = {**result.timings, "encode": encode_s, "total": result.timings["total"] + encode_s}
    if call.as_json:
        response = jsonify(
            ConvertAnswer(
                sample_rate=sample_rate,
                duration_s=result.audio.duration_s,
                timings=Timings(**timings),
                audio_base64=base64.b64encode(encoded).decode(),
                audio_format=call.audio_format,
                model=result.voice,
                warnings=list(result.warnings),
            ).model_dump()
        )
    else:
        response = Response(encoded, mimetype=AUDIO_FORMATS[call.audio_format])
        name = f"{call.request.request_id}.{call.audio_format}"
        response.headers["Content-Disposition"] = f'inline; filename="{name}"'
    headers = _headers(result, timings)
    headers["X-Audio-Sample-Rate"] = str(sample_rate)
    headers["X-Audio-Encoding"] = ENCODINGS[call.audio_format]
    response.headers.update(headers)
    g.log_fields = {"queue_ms": f"{timings['queue'] * 1000:.0f}", "model": quote(result.voice)}
    return response


def _headers(result: ConvertResult, timings: Mapping[str, float]) -> dict[str, str]:
    headers = {
        "X-Audio-Channels": "1",
        "X-Model": quote(result.voice),
        "X-Device": result.device,
        "X-Model-State": result.state_at_arrival,
        "X-Queue-Ms": f"{timings['queue'] * 1000:.0f}",
        "Server-Timing": ", ".join(f"{k};dur={s * 1000:.1f}" for k, s in timings.items()),
        "Cache-Control": "no-store",
    }
    if result.warnings:
        headers["X-Warnings"] = quote("; ".join(result.warnings), safe=HEADER_SAFE)
    return headers


def _rate_of(encoded: bytes) -> int:
    """The rate that the file states: mp3 does not have every rate that voices have."""
    import soundfile

    with soundfile.SoundFile(io.BytesIO(encoded)) as file:
        return int(file.samplerate)
