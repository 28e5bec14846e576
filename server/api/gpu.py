"""Where models are, how busy devices are, and moving models by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError

from rvc_core.errors import InvalidOption
from server.api.context import ApiContext
from server.api.schemas import GpuStatus, MoveRequest, Moves
from server.errors import InvalidRequest, ModelInUse
from server.security import require_admin

STATUS_PATHS = ("/api/v1/gpu/status", "/api/gpu/status")
OFFLOAD_PATHS = ("/api/v1/gpu/offload", "/api/gpu/offload")
RELEASE_PATHS = ("/api/v1/gpu/release", "/api/gpu/release", "/api/offload", "/api/v1/cache/clear")

Move = Callable[[str | None, float], dict[str, Any]]


def create_gpu_routes(context: ApiContext) -> Blueprint:
    """The routes about devices; those that move models are for administrators."""
    routes = Blueprint("gpu", __name__)
    services = context.services

    def status() -> Response:
        return jsonify(GpuStatus(**services.gpu_status()).model_dump())

    def move_by(move: Move) -> Callable[[], Response]:
        def answer() -> Response:
            require_admin(services.settings)
            wanted = _read_move()
            moved = Moves(**move(wanted.model, wanted.timeout_s))
            if moved.skipped and not (moved.offloaded or moved.released):
                names = ", ".join(
                    f"{skipped.model} ({skipped.reason})" for skipped in moved.skipped
                )
                raise ModelInUse(f"Nothing was moved: {names}.", param="model")
            return jsonify(moved.model_dump())

        return answer

    def metrics() -> Response:
        return Response(
            generate_latest(services.metrics.registry), content_type=CONTENT_TYPE_LATEST
        )

    for path in STATUS_PATHS:
        routes.add_url_rule(path, "status", status)
    offload, release = move_by(services.offload), move_by(services.release)
    for path in OFFLOAD_PATHS:
        routes.add_url_rule(path, "offload", offload, methods=["POST"])
    for path in RELEASE_PATHS:
        routes.add_url_rule(path, "release", release, methods=["POST"])
    routes.add_url_rule("/metrics", "metrics", metrics)
    return routes


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
