"""What a conversion answers: a file, an object with the file in it, or a stream."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from urllib.parse import quote

from flask import Response, g, jsonify

from rvc_core.token import Token
from server.api.context import ApiContext
from server.api.requests import FORMATS, ConvertCall
from server.api.schemas import ConvertAnswer, Timings
from server.records import ConvertResult
from server.stream_metrics import StreamMetrics
from server.streams import ConversionStream

ENCODINGS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "mp3", "ogg": "vorbis"}
HEADER_SAFE = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"


def whole_answer(call: ConvertCall, result: ConvertResult, metrics: StreamMetrics) -> Response:
    """The answer when all is done."""
    from rvc_core.encoders import open_encoder

    started = time.perf_counter()
    samples = result.audio.samples
    encoder = open_encoder(call.audio_format, result.audio.sample_rate, len(samples))
    encoded = b"".join([encoder.push(samples), encoder.finish()])
    encode_s = time.perf_counter() - started
    metrics.note_encoded(call.audio_format, encode_s)
    timings = {**result.timings, "encode": encode_s, "total": result.timings["total"] + encode_s}
    if call.as_json:
        response = jsonify(
            ConvertAnswer(
                sample_rate=encoder.sample_rate,
                duration_s=result.audio.duration_s,
                timings=Timings(**timings),
                audio_base64=base64.b64encode(encoded).decode(),
                audio_format=call.audio_format,
                model=result.voice,
                warnings=list(result.warnings),
            ).model_dump()
        )
    else:
        response = Response(encoded)
        _name_file(response, call)
    response.headers["Server-Timing"] = _server_timing(timings)
    _describe(response, call, encoder.sample_rate, timings["queue"])
    _describe_voice(response, result.voice, result.device, result.state_at_arrival)
    _warn(response, result.warnings)
    return response


def stream_answer(
    context: ApiContext, call: ConvertCall, is_gone: Callable[[], bool] | None
) -> Response:
    """An answer that begins with the first seconds; raise what comes before the first byte.

    When the answer is closed, however that comes, the conversion is over.
    """
    services, token = context.services, Token(call.timeout_s)
    with ExitStack() as held:
        context.streams.take()
        held.callback(context.streams.give_back)
        held.enter_context(context.watcher.watch(is_gone, token))
        metrics = services.metrics.streams
        stream = ConversionStream(call.request, call.audio_format, token, metrics)
        held.callback(stream.close)
        first = stream.start(lambda on_part: services.convert(call.request, token, on_part=on_part))
        close = held.pop_all().close
    response = Response(stream.chunks())
    response.call_on_close(close)
    if stream.encoder.n_bytes is not None:
        response.content_length = stream.encoder.n_bytes
    response.headers["X-Accel-Buffering"] = "no"
    _name_file(response, call)
    _describe(response, call, stream.encoder.sample_rate, first.queue_s)
    _describe_voice(response, first.voice, first.device, first.state_at_arrival)
    _warn(response, first.part.warnings)
    return response


def _name_file(response: Response, call: ConvertCall) -> None:
    response.mimetype = FORMATS[call.audio_format]
    name = f"{call.request.request_id}.{call.audio_format}"
    response.headers["Content-Disposition"] = f'inline; filename="{name}"'


def _describe(response: Response, call: ConvertCall, sample_rate: int, queue_s: float) -> None:
    response.headers.update(
        {
            "X-Audio-Sample-Rate": str(sample_rate),
            "X-Audio-Channels": "1",
            "X-Audio-Encoding": ENCODINGS[call.audio_format],
            "X-Queue-Ms": f"{queue_s * 1000:.0f}",
            "Cache-Control": "no-store",
        }
    )
    g.log_fields = {**g.log_fields, "queue_ms": f"{queue_s * 1000:.0f}"}


def _describe_voice(response: Response, voice: str, device: str, state: str) -> None:
    response.headers.update({"X-Model": quote(voice), "X-Device": device, "X-Model-State": state})
    g.log_fields = {**g.log_fields, "model": quote(voice)}


def _warn(response: Response, warnings: tuple[str, ...]) -> None:
    if warnings:
        response.headers["X-Warnings"] = quote("; ".join(warnings), safe=HEADER_SAFE)


def _server_timing(timings: Mapping[str, float]) -> str:
    return ", ".join(f"{stage};dur={s * 1000:.1f}" for stage, s in timings.items())
