"""Health, readiness, what this server is, and where the documentation is."""

from __future__ import annotations

import time

from flask import Blueprint, Response, jsonify, redirect
from werkzeug.wrappers import Response as BaseResponse

from server import VERSION
from server.api.context import ApiContext
from server.api.requests import FORMATS
from server.api.schemas import Health, Limits, Readiness, ServerInfo
from server.services import Services

NAME = "voice-server"


def create_system_routes(context: ApiContext) -> Blueprint:
    """The routes for operators; health touches neither disk nor device."""
    routes = Blueprint("system", __name__)
    services = context.services

    @routes.get("/health")
    def health() -> tuple[Response, int]:
        alive = services.is_alive()
        body = Health(
            status="ok" if alive else "stuck",
            version=VERSION,
            uptime_s=round(time.monotonic() - context.started, 3),
        )
        return jsonify(body.model_dump()), 200 if alive else 503

    @routes.get("/ready")
    def ready() -> tuple[Response, int]:
        state = services.ready()
        body = Readiness(ready=state.ready, reasons=list(state.reasons))
        return jsonify(body.model_dump()), 200 if state.ready else 503

    @routes.get("/info")
    def info() -> Response:
        return jsonify(_info(services).model_dump())

    @routes.get("/")
    @routes.get("/docs")
    def docs() -> BaseResponse:
        return redirect("/apidocs/")

    return routes


def _info(services: Services) -> ServerInfo:
    settings, engine = services.settings, services.engine
    return ServerInfo(
        name=NAME,
        version=VERSION,
        engines=["rvc"],
        devices=services.devices,
        models=list(services.registry.voices()),
        default_model=services.default_voice(),
        content_encoders=list(engine.content_encoders()),
        f0_methods=engine.f0_methods(),
        default_f0_method=engine.default_f0_method(),
        audio_formats=list(FORMATS),
        limits=Limits(
            max_upload_bytes=settings.max_upload_bytes,
            max_audio_s=settings.max_audio_seconds,
            max_request_s=settings.max_request_seconds,
            max_queue=settings.max_queue_per_gpu,
            concurrent_conversions=settings.concurrent_conversions,
        ),
    )
