"""GET /api/v1/models: the voices on disk."""

from __future__ import annotations

from dataclasses import asdict

from flask import Blueprint, Response, jsonify

from server.api.context import ApiContext
from server.api.schemas import Voice, VoiceList


def create_model_routes(context: ApiContext) -> Blueprint:
    """The routes about models."""
    routes = Blueprint("models", __name__)

    @routes.get("/api/v1/models")
    def models() -> Response:
        voices = [Voice(**asdict(info)) for info in context.services.voices()]
        default = context.services.default_voice()
        return jsonify(VoiceList(models=voices, default_model=default).model_dump())

    return routes
