"""GET /api/v1/models: the voices on disk."""

from __future__ import annotations

from dataclasses import asdict

from flask import Response, jsonify

from server.api.context import ApiContext
from server.api.route import Answer, Route, json_of
from server.api.schemas import Voice, VoiceList


def model_routes(context: ApiContext) -> list[Route]:
    """The routes about models."""

    def models() -> Response:
        voices = [Voice(**asdict(info)) for info in context.services.voices()]
        default = context.services.default_voice()
        return jsonify(VoiceList(models=voices, default_model=default).model_dump())

    return [
        Route(
            name="models",
            method="GET",
            paths=("/api/v1/models",),
            handler=models,
            summary="All voices",
            tag="voices",
            answers=(Answer("All voices on disk.", json_of(VoiceList)),),
        )
    ]
