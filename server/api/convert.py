"""POST /api/v1/convert: one recording in, the converted one out."""

from __future__ import annotations

from flask import Response, g, request

from rvc_core.token import Token
from server.api.context import ApiContext
from server.api.convert_answers import stream_answer, whole_answer
from server.api.convert_fields import (
    ANSWER_HEADERS,
    AUDIO_CONTENT,
    CONVERT_EXAMPLE,
    CONVERT_HEADERS,
    convert_forms,
)
from server.api.job_routes import ASYNC, IDEMPOTENCY, TAKEN
from server.api.jobs import is_async, submit_conversion
from server.api.requests import CallLimits, read_convert_call
from server.api.route import Answer, Body, Route, json_of
from server.api.schemas import ConvertAnswer


def convert_routes(context: ApiContext) -> list[Route]:
    """The routes that convert."""
    services, settings = context.services, context.services.settings
    limits = CallLimits(settings.max_request_seconds, settings.max_keep_alive)

    def convert() -> Response:
        if is_async():
            return submit_conversion(context)
        call = read_convert_call(request, g.request_id, limits)
        is_gone = request.environ.get("waitress.client_disconnected")
        if call.streams:
            return stream_answer(context, call, is_gone)
        token = Token(call.timeout_s)
        with context.watcher.watch(is_gone, token), token.governing():
            result = services.convert(call.request, token)
            return whole_answer(call, result, services.metrics.streams)

    return [
        Route(
            name="convert",
            method="POST",
            paths=("/api/v1/convert",),
            handler=convert,
            summary="Convert a recording",
            description="One recording in, the same in another voice out, as long as it was. With "
            "`stream` the answer begins while the rest is still being converted; should that fail, "
            "the connection is closed before the answer's end.",
            tag="conversion",
            parameters=(*CONVERT_HEADERS, IDEMPOTENCY, ASYNC),
            body=Body(convert_forms(), example=CONVERT_EXAMPLE),
            answers=(
                Answer(
                    "The converted recording.",
                    {**AUDIO_CONTENT, **json_of(ConvertAnswer)},
                    headers=ANSWER_HEADERS,
                ),
                TAKEN,
            ),
            failures=(400, 403, 404, 409, 413, 415, 503, 504, 507),
        )
    ]
