"""The bodies of the API's answers; routes build them and the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str = Field(description="One line for people.")
    type: str = Field(description="The kind of error: invalid_request, server or unavailable.")
    code: str = Field(description="A stable name for programs.")
    param: str | None = Field(description="The field at fault, where there is one.")
    retryable: bool = Field(description="Whether the same request may work later.")


class ErrorBody(BaseModel):
    """The body of every error."""

    error: ErrorDetail
    request_id: str


class Timings(BaseModel):
    """Seconds spent in each stage."""

    queue: float
    load: float
    feature: float
    f0: float
    synth: float
    encode: float
    total: float


class ConvertAnswer(BaseModel):
    """A converted recording with figures, for `Accept: application/json`."""

    sample_rate: int
    duration_s: float
    timings: Timings
    audio_base64: str
    audio_format: str
    model: str
    warnings: list[str]


class Voice(BaseModel):
    """A voice on disk."""

    id: str
    engine: str
    kind: str
    sample_rate: int | None = Field(description="Hz; null where the file cannot be used.")
    version: str | None
    f0: bool | None = Field(description="Whether the voice follows the recording's pitch.")
    speakers: int | None
    content: str | None = Field(description="The content encoder that the voice needs.")
    index: bool = Field(description="Whether an index belongs to the voice.")
    bytes: int
    state: str
    device: str | None
    pinned: bool
    last_used: float | None = Field(description="Seconds since 1970; null: not since the start.")
    ttl: float | None = Field(
        description="Seconds until it leaves memory if nobody asks for it; null: it has no such "
        "time, or is in use."
    )
    card: dict[str, Any] = Field(description="Origin, licence and notice, as the file states.")
    error: str | None = Field(description="Why the file cannot be used.")


class VoiceList(BaseModel):
    """All voices on disk."""

    models: list[Voice]
    default_model: str | None = Field(description="Voice of requests that name none.")


class Health(BaseModel):
    """Whether the server's control loop is alive."""

    status: str
    version: str
    uptime_s: float


class Readiness(BaseModel):
    """Whether conversions can be served, and what stands against it."""

    ready: bool
    reasons: list[str]


class Limits(BaseModel):
    """What the server accepts."""

    max_upload_bytes: int
    max_audio_s: float
    max_request_s: float
    max_queue: int
    concurrent_conversions: int


class Features(BaseModel):
    """What is switched on here."""

    streaming: bool = Field(description="Whether answers can begin before conversions end.")
    jobs: bool
    audio_url: bool = Field(description="Whether recordings may be fetched by their address.")
    webhooks: bool
    keys: bool = Field(description="Whether callers need an API key.")
    rate_limit_rpm: int = Field(description="Requests a minute; 0 is no limit.")


class ServerInfo(BaseModel):
    """What this server is and can do."""

    name: str
    version: str
    engines: list[str]
    devices: list[str] = Field(description="What conversions run on; each is used in parallel.")
    models: list[str]
    default_model: str | None
    content_encoders: list[str]
    f0_methods: list[str] = Field(description="Methods whose weights or packages are there.")
    default_f0_method: str
    audio_formats: list[str]
    limits: Limits
    features: Features
    versions: dict[str, str] = Field(description="Of Python and of the packages that matter.")


class GpuStatus(BaseModel):
    """All devices; docs/gpu_manager.md explains the parts."""

    generated_at: float = Field(description="Seconds since 1970.")
    mode: str = Field(description="concurrent (several workers), single (a GPU) or cpu.")
    devices: list[dict[str, Any]] = Field(
        description="Memory, pressure, worker, queue and models of each device in use."
    )
    waiting: list[dict[str, Any]] = Field(
        description="Conversions in line: voice, class, seconds, device expected, and why."
    )


class MoveRequest(BaseModel):
    """Which models to move; an empty body means all that are not pinned."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, description="A voice; unset: all models.")
    timeout_s: float = Field(
        10.0, ge=0, le=600, description="How long to wait for conversions that use them."
    )


class OffloadRequest(MoveRequest):
    """Which models to offload; an empty body means all that are not pinned."""

    force: StrictBool = Field(False, description="Whether to end the conversions that use them.")


ALL_OR_ONE: dict[str, Any] = {  # with level process no model is named
    "not": {
        "required": ["level", "model"],
        "properties": {"level": {"const": "process"}, "model": {"type": "string"}},
    }
}


class ReleaseRequest(OffloadRequest):
    """Which models to release; an empty body means all that are not pinned."""

    model_config = ConfigDict(json_schema_extra=ALL_OR_ONE)

    level: Literal["model", "process"] = Field(
        "model",
        description="process: put a new worker process in place of each too, where devices have "
        "such.",
    )


class SkippedModel(BaseModel):
    """A model that was left alone."""

    model: str
    leases: int
    reason: str = Field(description="in_use, pinned or failed.")


class Moves(BaseModel):
    """What was moved, on all devices."""

    offloaded: list[str]
    released: list[str]
    skipped: list[SkippedModel]
    cancelled: list[str] = Field([], description="Request ids of conversions that were ended.")
    freed_bytes: int = Field(description="Of device memory.")
