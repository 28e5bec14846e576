"""Every metric that this server has: its name, its labels, and what it says.

A new metric begins with a row here; the manual's table is checked against these.
"""

from __future__ import annotations

from dataclasses import dataclass

REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
LOAD_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
CANCEL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0)
JOB_BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
RATIO_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class MetricSpec:
    """One metric; `help` is for people, `buckets` are a histogram's upper bounds."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        """As Prometheus calls it: counter, gauge or histogram."""
        if self.buckets:
            return "histogram"
        return "counter" if self.name.endswith("_total") else "gauge"


# Fed by `Metrics` as conversions end.
WORK_METRICS = (
    MetricSpec(
        "voice_conversions_total",
        "Conversions by outcome: done, invalid (the request's fault), rejected, cancelled, "
        "expired (over its deadline) or failed; each counts once.",
        ("outcome",),
    ),
    MetricSpec(
        "voice_rejected_total",
        "Requests refused, by reason: queue_full, rate (over the caller's own limits), draining, "
        "not_ready (no device, or the model has just failed to load) or vram (no room for the "
        "model).",
        ("reason",),
    ),
    MetricSpec(
        "voice_cancelled_total",
        "Conversions whose caller gave up, by stage: queue (before they had a device), load "
        "(before they had their models) or run.",
        ("stage",),
    ),
    MetricSpec(
        "voice_deadline_exceeded_total",
        "Conversions whose deadline came first, by stage: queue, load or run.",
        ("stage",),
    ),
    MetricSpec(
        "voice_cancel_seconds",
        "From the moment that a conversion was cancelled until its device was free of it.",
        buckets=CANCEL_BUCKETS,
    ),
    MetricSpec(
        "voice_queue_seconds",
        "How long a conversion waited for a device and for models in use; for one that ended "
        "early, how long it stood in line.",
        buckets=REQUEST_BUCKETS,
    ),
    MetricSpec(
        "voice_load_seconds",
        "How long a conversion waited until its voice, and what it needs beside it, was on the "
        "device, by where the voice came from: disk or host (memory). None if it was ready.",
        ("model", "source"),
        LOAD_BUCKETS,
    ),
    MetricSpec(
        "voice_infer_seconds",
        "How long each stage of a conversion ran: feature, f0 (voices that use it) or synth.",
        ("engine", "stage"),
        REQUEST_BUCKETS,
    ),
    MetricSpec("voice_audio_seconds_total", "Seconds of audio converted.", ("engine",)),
    MetricSpec(
        "voice_rtf",
        "Seconds of work, without waiting and loading, for each second of audio.",
        ("engine",),
        RATIO_BUCKETS,
    ),
)

# Fed by `StreamMetrics` as results become bytes.
STREAM_METRICS = (
    MetricSpec(
        "voice_ttfb_seconds",
        "Streamed conversions: from the request's reading to the first byte of its answer.",
        ("engine",),
        REQUEST_BUCKETS,
    ),
    MetricSpec("voice_stream_bytes_total", "Bytes of streamed answers that were sent."),
    MetricSpec(
        "voice_stream_truncated_total",
        "Streamed answers that ended too early, as their conversion failed after the first byte.",
    ),
    MetricSpec(
        "voice_encode_seconds",
        "How long it took to make the bytes of a result, by format: wav, flac, mp3 or ogg.",
        ("format",),
        REQUEST_BUCKETS,
    ),
)

# Fed by `HttpMetrics` as requests come and go.
HTTP_METRICS = (
    MetricSpec(
        "voice_http_requests_total",
        "Requests answered, by route (its address with {names} for values, or other), method "
        "and status.",
        ("route", "method", "status"),
    ),
    MetricSpec(
        "voice_http_request_seconds",
        "From a request's headers and body to the end of its answer.",
        ("route",),
        REQUEST_BUCKETS,
    ),
    MetricSpec("voice_inflight", "Requests being answered now.", ("route",)),
)

# Fed by `JobMetrics` as jobs run; `voice_jobs` is read from the database at each scrape.
JOB_METRICS = (
    MetricSpec(
        "voice_jobs",
        "Jobs that are kept, by state: queued, running, succeeded, failed, cancelled or expired.",
        ("state",),
    ),
    MetricSpec(
        "voice_job_seconds",
        "How long a job ran each time that it was started, however that ended, by type: convert "
        "or batch.",
        ("type",),
        JOB_BUCKETS,
    ),
    MetricSpec(
        "voice_job_retries_total",
        "Jobs put in line again, by reason: asked (by their caller), busy (the server was full or "
        "a worker died) or interrupted (a server died).",
        ("reason",),
    ),
)

# Read from the devices' status at each scrape.
GPU_METRICS = (
    MetricSpec(
        "voice_queue_depth",
        "Conversions in line, by the device where they are expected to run (none: no device is "
        "up) and by class: interactive or batch.",
        ("device", "class"),
    ),
    MetricSpec(
        "voice_model_state",
        "1 for the state that a model is in: unloaded, loading, ready, offloading, offloaded, "
        "releasing or failed. A replaced file that is still in use counts beside the new one.",
        ("model", "device", "state"),
    ),
    MetricSpec("voice_leases", "Models in use, each as often as it is used.", ("device",)),
    MetricSpec(
        "voice_lease_age_seconds_max", "For how long the oldest lease has been held.", ("device",)
    ),
    MetricSpec(
        "voice_loads_total",
        "Models brought to the device, by source: disk or host (memory).",
        ("device", "source"),
    ),
    MetricSpec("voice_load_failures_total", "Loads and moves of models that failed.", ("device",)),
    MetricSpec(
        "voice_evictions_total", "Models offloaded because another needed the room.", ("device",)
    ),
    MetricSpec("voice_offloads_total", "Models moved to host memory.", ("device",)),
    MetricSpec(
        "voice_oom_total", "How often a load or a conversion ran out of memory.", ("device",)
    ),
    MetricSpec(
        "voice_leak_suspected_total",
        "Models that something still held after their release.",
        ("device",),
    ),
    MetricSpec(
        "voice_vram_bytes",
        "Memory of the device, as far as known: total, free, external (held by other programs), "
        "budget (what models may take) and ledger (what they take).",
        ("device", "kind"),
    ),
    MetricSpec("voice_pinned_bytes", "Page-locked host memory, for fast copies.", ("device",)),
    MetricSpec("voice_host_cache_bytes", "Offloaded models in host memory.", ("device",)),
    MetricSpec(
        "voice_copy_gbps",
        "How fast the last model came from host memory to the device, in GB/s.",
        ("device",),
    ),
    MetricSpec("voice_worker_restarts_total", "New processes in place of dead ones.", ("device",)),
    MetricSpec(
        "voice_pressure_level",
        "How short memory is: 0 none, 1 soft, 2 hard, 3 critical.",
        ("device",),
    ),
    MetricSpec(
        "voice_heartbeat_age_seconds",
        "Time since a loop last turned: timers (of idle models) or worker (its process).",
        ("device", "loop"),
    ),
)
