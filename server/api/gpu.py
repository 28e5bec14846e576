"""Where models are, how busy devices are, and moving models by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask import Response, jsonify, request
from pydantic import ValidationError

from rvc_core.errors import InvalidOption
from server.api.context import ApiContext
from server.api.route import Access, Answer, Body, Route, json_of
from server.api.schemas import GpuStatus, MoveRequest, Moves
from server.errors import InvalidRequest, ModelInUse

TAG = "devices"
STATUS_PATHS = ("/api/v1/gpu/status", "/api/gpu/status")
OFFLOAD_PATHS = ("/api/v1/gpu/offload", "/api/gpu/offload")
RELEASE_PATHS = ("/api/v1/gpu/release", "/api/gpu/release", "/api/offload", "/api/v1/cache/clear")

Move = Callable[[str | None, float], dict[str, Any]]


def gpu_routes(context: ApiContext) -> list[Route]:
    """The routes about devices; those that move models are for administrators."""
    services = context.services

    def status() -> Response:
        return jsonify(GpuStatus(**services.gpu_status()).model_dump())

    return [
        Route(
            name="gpu_status",
            method="GET",
            paths=STATUS_PATHS,
            handler=status,
            summary="Where models are, and who waits",
            tag=TAG,
            answers=(Answer("All devices.", json_of(GpuStatus)),),
        ),
        _move_route("offload", OFFLOAD_PATHS, services.offload, "Move idle models to RAM"),
        _move_route("release", RELEASE_PATHS, services.release, "Drop idle models from memory"),
    ]


def _move_route(name: str, paths: tuple[str, ...], move: Move, summary: str) -> Route:
    def answer() -> Response:
        wanted = _read_move()
        moved = Moves(**move(wanted.model, wanted.timeout_s))
        if moved.skipped and not (moved.offloaded or moved.released):
            names = ", ".join(f"{skipped.model} ({skipped.reason})" for skipped in moved.skipped)
            raise ModelInUse(f"Nothing was moved: {names}.", param="model")
        return jsonify(moved.model_dump())

    return Route(
        name=name,
        method="POST",
        paths=paths,
        handler=answer,
        summary=summary,
        tag=TAG,
        access=Access.ADMIN,
        body=Body(json_of(MoveRequest), required=False, example={"model": "demo"}),
        answers=(Answer("What was moved, on all devices.", json_of(Moves)),),
        failures=(400, 404, 409, 503),
    )


def _read_move() -> MoveRequest:
    """The JSON body; none means all models."""
    body = request.get_data()
    if not body:
        return MoveRequest.model_validate({})
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is no JSON.") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("The body is JSON, but no object.")
    try:
        return MoveRequest.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])[:80]
        raise InvalidOption(f"{name}: {first['msg']}.", param=name) from None
