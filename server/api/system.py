"""Health, readiness, figures, and what this server is."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version

from flask import Response, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from server import VERSION
from server.api.context import ApiContext
from server.api.requests import FORMATS, TEXT_FIELDS
from server.api.route import Access, Answer, Parameter, Route, json_of
from server.api.schemas import Features, Health, Limits, Readiness, ServerInfo
from server.services import Services

NAME = "voice-server"
TAG = "system"
SHOWN = ("torch", "faiss-cpu", "flask", "waitress")  # packages whose version people ask for


def system_routes(context: ApiContext) -> list[Route]:
    """The routes for operators; health touches neither disk nor device."""
    services = context.services

    def health() -> tuple[Response, int]:
        alive = services.is_alive()
        body = Health(
            status="ok" if alive else "stuck",
            version=VERSION,
            uptime_s=round(time.monotonic() - context.started, 3),
        )
        return jsonify(body.model_dump()), 200 if alive else 503

    def ready() -> tuple[Response, int]:
        state = services.ready(request.args.get("model"))
        body = Readiness(ready=state.ready, reasons=list(state.reasons))
        return jsonify(body.model_dump()), 200 if state.ready else 503

    def info() -> Response:
        return jsonify(_info(services).model_dump())

    def metrics() -> Response:
        return Response(
            generate_latest(services.metrics.registry), content_type=CONTENT_TYPE_LATEST
        )

    return [
        _probe("health", health, "Is the server alive?", Health),
        replace(
            _probe("ready", ready, "Can it convert now?", Readiness),
            parameters=(Parameter("model", "A voice that it is to convert with."),),
            failures=(404,),
        ),
        Route(
            name="info",
            method="GET",
            paths=("/info",),
            handler=info,
            summary="What it is and can do",
            tag=TAG,
            answers=(Answer("What this server is.", json_of(ServerInfo)),),
        ),
        Route(
            name="metrics",
            method="GET",
            paths=("/metrics",),
            handler=metrics,
            summary="Figures for Prometheus",
            tag=TAG,
            answers=(Answer("Its text format.", {"text/plain": {"type": "string"}}),),
        ),
    ]


def _probe(
    name: str, handler: Callable[[], tuple[Response, int]], summary: str, model: type[BaseModel]
) -> Route:
    answers = (
        Answer("Yes.", json_of(model)),
        Answer("No; the body says why.", json_of(model), status=503),
    )
    return Route(name, "GET", (f"/{name}",), handler, summary, TAG, answers, access=Access.PUBLIC)


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
        features=Features(
            streaming="stream" in TEXT_FIELDS,
            jobs=True,
            audio_url=settings.enable_audio_url,
            webhooks=settings.enable_webhooks and settings.webhook_secret is not None,
            keys=bool(settings.keys),
            rate_limit_rpm=settings.rate_limit_rpm,
        ),
        versions={"python": platform.python_version(), **{name: version(name) for name in SHOWN}},
    )
