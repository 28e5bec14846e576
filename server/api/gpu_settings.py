"""GET and PATCH /api/v1/gpu/settings: idle timers, bounds and pins of the running server."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Response, jsonify
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from server.api.bodies import invalid_field, read_json_object
from server.api.route import Access, Answer, Body, Route, json_of
from server.services import Services

TAG = "devices"
PATHS = ("/api/v1/gpu/settings",)


class GpuSettings(BaseModel):
    """The values in force; docs/configuration.md says what they mean."""

    gpu_offload_after: float = Field(description="Seconds; 0 at once, -1 never.")
    gpu_idle_timeout: float = Field(description="Seconds; 0 at once, -1 never.")
    gpu_vram_budget: str = Field(description="Bytes, 6GB, 512MiB, 0.5 of a GPU, or empty.")
    max_voices: int
    pinned: list[str] = Field(description="Voices that stay on their devices.")


NO_FRACTION = {"not": {"exclusiveMinimum": -1, "exclusiveMaximum": 0}}  # -1, or 0 and more
IdleSeconds = Annotated[
    float,
    Field(
        ge=-1,
        le=31_536_000,
        description="Seconds; 0 at once, -1 never.",
        json_schema_extra=NO_FRACTION,
    ),
]


def _as_whole(value: object) -> object:
    """7.0 is a whole number in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_as_whole)]


class GpuChanges(BaseModel):
    """What to change; what is not named stays as it is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    gpu_offload_after: IdleSeconds = 300.0
    gpu_idle_timeout: IdleSeconds = 600.0
    gpu_vram_budget: str = Field("", description="Bytes, 6GB, 512MiB, 0.5 of a GPU, or empty.")
    max_voices: Whole = Field(8, ge=1, le=10_000, description="Voices in memory on each device.")
    pins: dict[str, bool] = Field({}, description="By voice: whether it stays on its device.")


def gpu_settings_routes(services: Services) -> list[Route]:
    """The routes that show and change the settings of a running server."""

    def show() -> Response:
        return jsonify(_in_force(services).model_dump())

    def change() -> Response:
        changes = _read_changes()
        pins: dict[str, bool] = changes.pop("pins", {})
        for name in pins:
            services.registry.find(name)  # all or nothing
        services.operations.change(changes)
        for name, pinned in pins.items():
            services.set_pinned(name, pinned)
        return show()

    answers = (Answer("The values in force.", json_of(GpuSettings)),)
    return [
        Route(
            name="gpu_settings",
            method="GET",
            paths=PATHS,
            handler=show,
            summary="Idle timers, bounds and pins",
            tag=TAG,
            answers=answers,
        ),
        Route(
            name="change_gpu_settings",
            method="PATCH",
            paths=PATHS,
            handler=change,
            summary="Change them until the server ends",
            tag=TAG,
            access=Access.ADMIN,
            body=Body(json_of(GpuChanges), example={"gpu_offload_after": 60}),
            answers=answers,
            failures=(400, 404, 413),
        ),
    ]


def _read_changes() -> dict[str, Any]:
    try:
        read = GpuChanges.model_validate(read_json_object(), strict=True)
    except ValidationError as error:
        raise invalid_field(error) from None
    return read.model_dump(include=read.model_fields_set)


def _in_force(services: Services) -> GpuSettings:
    voices = services.registry.voices()
    pinned = [name for name in voices if services.leases.is_pinned(name)]
    return GpuSettings(**services.operations.settings(), pinned=pinned)
