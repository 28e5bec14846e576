"""POST /api/v1/convert: one recording in, the converted one out."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Mapping
from urllib.parse import quote

from flask import Response, g, jsonify, request

from rvc_core.token import Token
from server.api.context import ApiContext
from server.api.convert_fields import (
    ANSWER_HEADERS,
    AUDIO_CONTENT,
    CONVERT_EXAMPLE,
    CONVERT_HEADERS,
    convert_forms,
)
from server.api.requests import CallLimits, ConvertCall, read_convert_call
from server.api.route import Answer, Body, Route, json_of
from server.api.schemas import ConvertAnswer, Timings
from server.records import ConvertResult

ENCODINGS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "mp3"}
HEADER_SAFE = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"


def convert_routes(context: ApiContext) -> list[Route]:
    """The routes that convert."""
    services, settings = context.services, context.services.settings
    limits = CallLimits(settings.max_request_seconds, settings.max_keep_alive)

    def convert() -> Response:
        call = read_convert_call(request, g.request_id, limits)
        token = Token(call.timeout_s)
        is_gone = request.environ.get("waitress.client_disconnected")
        with context.watcher.watch(is_gone, token):
            result = services.convert(call.request, token)
        return _answer(call, result)

    return [
        Route(
            name="convert",
            method="POST",
            paths=("/api/v1/convert",),
            handler=convert,
            summary="Convert a recording",
            description="One recording in, the same in another voice out, as long as it was.",
            tag="conversion",
            parameters=CONVERT_HEADERS,
            body=Body(convert_forms(), example=CONVERT_EXAMPLE),
            answers=(
                Answer(
                    "The converted recording.",
                    {**AUDIO_CONTENT, **json_of(ConvertAnswer)},
                    headers=ANSWER_HEADERS,
                ),
            ),
            failures=(400, 404, 413, 415, 503, 504),
        )
    ]


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
