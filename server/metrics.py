"""What conversions took and how they ended, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

from gpu.errors import GpuError
from rvc_core.errors import CoreError
from rvc_core.token import Token
from server.errors import ServerError
from server.http_metrics import HttpMetrics
from server.metric_specs import WORK_METRICS
from server.records import ConvertResult
from server.stats import Spent, Tally
from server.stream_metrics import StreamMetrics

ENGINE = "rvc"
STAGES = ("feature", "f0", "synth")
JOURNEY_STAGES = ("queue", "load", "run")
SOURCES = {"unloaded": "disk", "offloaded": "host"}  # by how the voice was found
REASONS = {  # of a rejection, by the error's code
    "queue_full": "queue_full",
    "draining": "draining",
    "device_unavailable": "not_ready",
    "load_backoff": "not_ready",
    "insufficient_memory": "vram",
    "insufficient_vram": "vram",
}
ENDS = {  # by the error's code
    "cancelled": "cancelled",
    "deadline_exceeded": "expired",
    "wait_expired": "expired",
    "fetch_timeout": "expired",
    **dict.fromkeys(REASONS, "rejected"),
}
FAULTS = frozenset(
    {
        *("core_error", "internal_error", "non_finite_output", "out_of_memory", "preempted"),
        *("disk_full", "disk_quota_exceeded", "interrupted", "job_files_lost"),
    }
)


class Journey:
    """How far one conversion has come on its way to a device."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._joined: float | None = None
        self._started: float | None = None
        self._works = False
        self.device = 0  # the number of the one that it runs on

    def join(self) -> None:
        """It stands in line for a device."""
        self._joined = self._clock()

    def start(self, device: int = 0) -> None:
        """It has a device, of that number."""
        self._started = self._clock()
        self.device = device

    def work(self) -> None:
        """It has its models too."""
        self._works = True

    @property
    def stage(self) -> str:
        """Where it is: queue, load or run."""
        if self._started is None:
            return "queue"
        return "run" if self._works else "load"

    @property
    def was_in_line(self) -> bool:
        """Whether it got so far."""
        return self._joined is not None

    @property
    def waited_s(self) -> float:
        """Seconds in line, so far or in all; 0 if it never stood there."""
        if self._joined is None:
            return 0.0
        return (self._clock() if self._started is None else self._started) - self._joined


class Metrics:
    """The metrics of conversions on one registry; safe to use from any thread.

    A registry takes only one `Metrics`. No label is ever taken from what a request says: names of
    voices are those of files on disk, all others are in `server.metric_specs`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.http = HttpMetrics(registry)
        self.tally = Tally()
        self._specs = {spec.name: spec for spec in WORK_METRICS}
        self._conversions = self._counter("voice_conversions_total")
        self._rejected = self._counter("voice_rejected_total")
        self._cancelled = self._counter("voice_cancelled_total")
        self._expired = self._counter("voice_deadline_exceeded_total")
        self._audio_s = self._counter("voice_audio_seconds_total")
        self._queue_s = self._histogram("voice_queue_seconds")
        self._load_s = self._histogram("voice_load_seconds")
        self._infer_s = self._histogram("voice_infer_seconds")
        self._rtf = self._histogram("voice_rtf")
        self._cancel_s = self._histogram("voice_cancel_seconds")
        self.streams = StreamMetrics(registry)
        self._start_at_zero()

    def observe(
        self, convert: Callable[[Journey], ConvertResult], token: Token | None = None
    ) -> ConvertResult:
        """Do one conversion and note how it went; what it raises is raised."""
        journey = Journey()
        try:
            result = convert(journey)
        except BaseException as error:
            self._note_error(journey, error)
            if token is not None and token.cancelled:
                self._cancel_s.observe(token.cancelled_for_s)
            raise
        self._note_result(journey, result)
        return result

    def note_refused(self, error: ServerError) -> None:
        """A conversion was refused before it was read."""
        self._note_error(Journey(), error)

    def note_limited(self) -> None:
        """A request was refused because its caller asks for more than it may."""
        self._rejected.labels("rate").inc()

    def _note_result(self, journey: Journey, result: ConvertResult) -> None:
        timings, audio_s = result.timings, result.audio.duration_s
        queue_s, total_s = timings["queue"], timings["total"]
        spent = Spent(queue=queue_s, run=max(0.0, total_s - queue_s), total=total_s)
        self.tally.note_done(journey.device, spent)
        self._conversions.labels("done").inc()
        self._queue_s.observe(timings["queue"])
        if result.state_at_arrival in SOURCES:
            source = SOURCES[result.state_at_arrival]
            self._load_s.labels(result.voice, source).observe(timings["load"])
        for stage in STAGES:
            if timings[stage] > 0:  # a voice without F0 spends nothing on it
                self._infer_s.labels(ENGINE, stage).observe(timings[stage])
        self._audio_s.labels(ENGINE).inc(audio_s)
        if audio_s > 0:
            work_s = timings["total"] - timings["queue"] - timings["load"]
            self._rtf.labels(ENGINE).observe(max(0.0, work_s) / audio_s)

    def _note_error(self, journey: Journey, error: BaseException) -> None:
        outcome = outcome_of(error)
        self._conversions.labels(outcome).inc()
        self.tally.note_failed(outcome, REASONS.get(_code(error)))
        if journey.was_in_line:
            self._queue_s.observe(journey.waited_s)
        if outcome == "rejected":
            self._rejected.labels(REASONS[_code(error)]).inc()
        elif outcome == "cancelled":
            self._cancelled.labels(journey.stage).inc()
        elif outcome == "expired":
            self._expired.labels(journey.stage).inc()

    def _start_at_zero(self) -> None:
        # A series that begins at 1 has no increase that Prometheus could see.
        for outcome in ("done", "invalid", "failed", *ENDS.values()):
            self._conversions.labels(outcome)
        for reason in REASONS.values():
            self._rejected.labels(reason)
        self._rejected.labels("rate")
        for stage in JOURNEY_STAGES:
            self._cancelled.labels(stage)
            self._expired.labels(stage)

    def _counter(self, name: str) -> Counter:
        spec = self._specs[name]
        return Counter(spec.name, spec.help, spec.labels, registry=self.registry)

    def _histogram(self, name: str) -> Histogram:
        spec = self._specs[name]
        return Histogram(
            spec.name, spec.help, spec.labels, buckets=spec.buckets, registry=self.registry
        )


def outcome_of(error: BaseException) -> str:
    """What an error means: invalid, rejected, cancelled, expired or failed."""
    code = _code(error)
    if code in ENDS:
        return ENDS[code]
    is_ours = isinstance(error, (CoreError, ServerError)) and code not in FAULTS
    return "invalid" if is_ours else "failed"


def _code(error: BaseException) -> str:
    return error.code if isinstance(error, (CoreError, GpuError, ServerError)) else ""
