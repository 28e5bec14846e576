"""Where models are, how busy devices are, and moving models by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flask import Response, jsonify, request
from pydantic import ValidationError

from rvc_core.errors import InvalidOption
from server.api.bodies import invalid_field, read_json_object
from server.api.context import ApiContext
from server.api.gpu_settings import gpu_settings_routes
from server.api.route import Access, Answer, Body, Route, json_of
from server.api.schemas import GpuStatus, Moves, OffloadRequest, ReleaseRequest
from server.errors import ModelInUse

TAG = "devices"
STATUS_PATHS = ("/api/v1/gpu/status", "/api/gpu/status")
OFFLOAD_PATHS = ("/api/v1/gpu/offload", "/api/gpu/offload")
SUMMARIES = {"offload": "Move idle models to RAM", "release": "Drop idle models from memory"}
RELEASE_PATHS = ("/api/v1/gpu/release", "/api/gpu/release", "/api/offload", "/api/v1/cache/clear")

Move = TypeVar("Move", bound=OffloadRequest)


def gpu_routes(context: ApiContext) -> list[Route]:
    """The routes about devices; those that move models are for administrators."""
    services = context.services

    def status() -> Response:
        return jsonify(GpuStatus(**services.gpu_status()).model_dump())

    def offload() -> Response:
        wanted = _read_move(OffloadRequest)
        return _answer(Moves(**services.offload(wanted.model, wanted.timeout_s, wanted.force)))

    def release() -> Response:
        wanted = _read_move(ReleaseRequest)
        if wanted.level == "model":
            return _answer(Moves(**services.release(wanted.model, wanted.timeout_s, wanted.force)))
        if wanted.model is not None:
            raise InvalidOption(
                "level is process, which releases all; name no model.", param="model"
            )
        operations = services.operations
        return _answer(Moves(**operations.renew_processes(wanted.timeout_s, wanted.force)))

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
        _move_route("offload", OFFLOAD_PATHS, offload, OffloadRequest),
        _move_route("release", RELEASE_PATHS, release, ReleaseRequest),
        *gpu_settings_routes(services),
    ]


def _answer(moved: Moves) -> Response:
    if moved.skipped and not (moved.offloaded or moved.released):
        names = ", ".join(f"{skipped.model} ({skipped.reason})" for skipped in moved.skipped)
        raise ModelInUse(f"Nothing was moved: {names}.", param="model")
    return jsonify(moved.model_dump())


def _move_route(
    name: str,
    paths: tuple[str, ...],
    answer: Callable[[], Response],
    body: type[OffloadRequest],
) -> Route:
    return Route(
        name=name,
        method="POST",
        paths=paths,
        handler=answer,
        summary=SUMMARIES[name],
        tag=TAG,
        access=Access.ADMIN,
        body=Body(json_of(body), required=False, example={"model": "demo"}),
        answers=(Answer("What was moved, on all devices.", json_of(Moves)),),
        failures=(400, 404, 409, 503),
    )


def _read_move(model: type[Move]) -> Move:
    """The JSON body; none means all models."""
    fields = read_json_object() if request.get_data() else {}
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise invalid_field(error) from None
