"""GET /api/v1/stats: what was done since the start, by device, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Response, jsonify

from server.api.context import ApiContext
from server.api.route import Answer, Route, json_of
from server.api.schemas_stats import (
    ConcurrentStats,
    DeviceQueue,
    DeviceStats,
    GpuFigures,
    Percentiles,
    Stats,
)
from server.services import Services
from server.stats import DeviceTally, TallyView, quantiles

TAG = "devices"


def stats_routes(context: ApiContext) -> list[Route]:
    """The figures, in our shape and in that of a server for several GPUs."""
    services = context.services

    def stats() -> Response:
        return jsonify(_stats(services).model_dump())

    def concurrent_stats() -> Response:
        return jsonify(_concurrent_stats(services).model_dump())

    return [
        Route(
            name="stats",
            method="GET",
            paths=("/api/v1/stats",),
            handler=stats,
            summary="What was done, and how fast",
            tag=TAG,
            answers=(Answer("Figures since the start.", json_of(Stats)),),
        ),
        Route(
            name="concurrent_stats",
            method="GET",
            paths=("/concurrent_stats",),
            handler=concurrent_stats,
            summary="The same in fewer words",
            tag=TAG,
            answers=(Answer("Figures by GPU since the start.", json_of(ConcurrentStats)),),
        ),
    ]


def _stats(services: Services) -> Stats:
    view, status = services.metrics.tally.view(), services.gpu_status()
    workers = {device["index"]: device.get("worker") for device in status["devices"]}
    devices = [
        DeviceStats(
            index=index,
            name=name,
            completed=tally.completed,
            mean_run_s=tally.mean_run_s,
            restarts=(workers.get(index) or {"restarts": 0})["restarts"],
            waiting=waiting,
        )
        for index, name, tally, waiting in _by_device(services, view)
    ]
    return Stats(
        since=view.since,
        mode=status["mode"],
        total=view.completed + view.failed,
        completed=view.completed,
        failed=view.failed,
        in_progress=services.operations.n_at_hand(),
        success_rate=_success_rate(view),
        outcomes=view.outcomes,
        rejected=view.rejected,
        restarts=sum(device.restarts for device in devices),
        devices=devices,
        recent=len(view.recent),
        queue_s=_percentiles(spent.queue for spent in view.recent),
        run_s=_percentiles(spent.run for spent in view.recent),
        total_s=_percentiles(spent.total for spent in view.recent),
    )


def _concurrent_stats(services: Services) -> ConcurrentStats:
    view = services.metrics.tally.view()
    devices = _by_device(services, view)
    return ConcurrentStats(
        mode="concurrent" if len(services.devices) > 1 else "single",
        gpu_count=len(services.devices),
        total_requests=view.completed + view.failed,
        completed_requests=view.completed,
        failed_requests=view.failed,
        success_rate=_success_rate(view),
        gpu_stats={
            str(index): GpuFigures(
                requests_processed=tally.completed, average_processing_time=tally.mean_run_s
            )
            for index, _, tally, _ in devices
        },
        queue_status={
            f"gpu_{index}": DeviceQueue(request_queue=waiting, response_queue=0)
            for index, _, _, waiting in devices
        },
    )


def _by_device(services: Services, view: TallyView) -> list[tuple[int, str, DeviceTally, int]]:
    """Index, name, counts and line of all devices, with whatever has ever converted."""
    names, waiting = services.devices, services.operations.n_waiting()
    indexes = sorted({*range(len(names)), *view.devices})
    return [
        (
            index,
            names[index] if index < len(names) else "cpu",  # this process, in place of workers
            view.devices.get(index, DeviceTally()),
            waiting.get(index, 0),
        )
        for index in indexes
    ]


def _success_rate(view: TallyView) -> float:
    total = view.completed + view.failed
    return 100.0 * view.completed / total if total else 100.0


def _percentiles(values: Iterable[float]) -> Percentiles:
    return Percentiles(**quantiles(list(values)))
