"""The bodies of answers about what was done so far."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Percentiles(BaseModel):
    """Seconds that half, nine tenths and 99 % of the recent conversions stayed within."""

    p50: float | None
    p90: float | None
    p99: float | None


class DeviceStats(BaseModel):
    """What one device has done."""

    index: int
    name: str
    completed: int
    mean_run_s: float
    restarts: int = Field(description="New worker processes in place of dead ones.")
    waiting: int = Field(description="Conversions in line that are expected to run here.")


class Stats(BaseModel):
    """What was done since the start; percentiles are over the last thousand conversions."""

    since: float = Field(description="Seconds since 1970.")
    mode: str = Field(description="concurrent (several workers), single (a GPU) or cpu.")
    total: int = Field(description="Conversions that have ended: completed and failed.")
    completed: int
    failed: int = Field(description="Those that did not end in audio, for whatever reason.")
    in_progress: int = Field(description="Conversions that wait or run now.")
    success_rate: float = Field(description="Per cent of the total; 100 before the first.")
    outcomes: dict[str, int] = Field(
        description="By outcome: done, invalid, rejected, cancelled, expired, failed."
    )
    rejected: dict[str, int] = Field(description="By reason: queue_full, draining and so on.")
    restarts: int = Field(description="Of all workers.")
    devices: list[DeviceStats]
    recent: int = Field(description="How many conversions the percentiles are over.")
    queue_s: Percentiles = Field(description="Waiting for a device and for models in use.")
    run_s: Percentiles = Field(description="From then to the end.")
    total_s: Percentiles


class GpuFigures(BaseModel):
    """One GPU's share."""

    requests_processed: int
    average_processing_time: float = Field(description="Seconds.")


class DeviceQueue(BaseModel):
    """Who waits at one GPU."""

    request_queue: int
    response_queue: int = Field(description="Always 0: answers are sent as soon as they are there.")


class ConcurrentStats(BaseModel):
    """The figures by the names that users of a server for several GPUs know."""

    mode: str = Field(description="concurrent or single.")
    gpu_count: int
    total_requests: int
    completed_requests: int
    failed_requests: int
    success_rate: float
    gpu_stats: dict[str, GpuFigures]
    queue_status: dict[str, DeviceQueue]
